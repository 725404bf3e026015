"""Helpers that several rooms share: quoting, processes, signals, text for messages."""
