"""The controller of a live run: follow its nodes, stop, restart, and reach a verdict."""
