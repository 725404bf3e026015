"""The life of a run: its name and record, start, follow, stop, verdict."""
