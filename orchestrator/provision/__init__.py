"""Make bare machines ready for a first launch: rsync, a virtual environment, torch.

found        what a host is, as a probe on it tells
steps        which commands make it ready: pure
connection   a Fabric connection that trusts known host keys only
tasks        Fabric's tasks: look at a host, run a step there
hosts        all hosts at once: look, carry out

Fabric, and what it brings, is imported in here alone; it is the extra `prepare`.
"""
