"""What a node can tell of itself, one file a group; `check.py` has the names."""
