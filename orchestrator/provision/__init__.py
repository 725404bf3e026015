"""Prepare bare machines for a first launch: rsync, a virtual environment, torch.

probe        what a host has
steps        the commands that prepare it
connection   a Fabric connection that accepts only known host keys
hosts        all hosts at once: inspect them, run the steps

Only this package imports Fabric, which is the extra `prepare`.
"""
