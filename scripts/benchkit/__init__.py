"""Benchmarks of orch on the lab: one file a case, and what they share.

`measure` runs one contender and says what it cost, `numbers` makes medians, ratios and verdicts of
many runs, `report` shows them.
"""
