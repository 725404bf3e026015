"""Launchers: from one node's share of a job to the processes that run there."""
