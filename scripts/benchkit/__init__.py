"""Benchmarks of orch on the lab: one file per case, and what they share.

`measure` runs one command and returns its cost, `numbers` computes medians, ratios and verdicts of many
runs, `report` shows them.
"""
