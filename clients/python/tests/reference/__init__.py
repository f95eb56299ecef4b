"""A small Millstream in Python: what the Node API and the export are tried on until the real server speaks them.

It reads a graph file and calls services over HTTP, as orchestrator and worker will. It has no log, no crash and no
concurrency. Tests use it through `under_test.py` alone, as the `Server` of `server.py`.
"""
