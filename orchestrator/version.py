"""The version of orch."""

__version__ = "0.1.0"
