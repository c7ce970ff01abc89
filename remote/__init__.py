"""The round trip to Kaggle: push the built script, watch it run, fetch what it left, score it. Never bundled.

`main` is the command line and `client` the only way to Kaggle: the real client runs in a process of its own
(`client_process`), so that a call can be given a time limit, and what the client prints stays in there.
"""
