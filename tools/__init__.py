"""What runs at home only, beside the sources that are bundled."""
