"""The steps of a run: prepare, train the members, blend, leave a checked submission."""
