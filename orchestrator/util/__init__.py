"""Helpers that several packages share: quoting, processes, signals, text for messages."""
