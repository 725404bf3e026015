"""Defaults of options that a team shares: `[tool.orch]` in pyproject.toml, or orch.toml.

The file is part of a project, which may come from someone else. So it can set what a job needs, and nothing
that runs a program on this machine, trusts a host key, sends files from elsewhere or replaces files on
nodes (`keys.REFUSED`).
"""
