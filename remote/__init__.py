"""The round trip to Kaggle: push the built script, watch it run, fetch what it left, score it. Never bundled.

`main` is the command line. `client` makes every call to Kaggle. The real client runs in a process of its own
(`client_process`), so that a call can have a time limit and what the client prints is not shown.
"""
