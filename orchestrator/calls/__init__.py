"""A call of a Python function on every rank: how it goes to the nodes, and how its results come back."""
