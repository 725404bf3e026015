"""Formats that hosts are listed in: one reader a file, found by its name or by recognising its source."""
