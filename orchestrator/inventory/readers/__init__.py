"""Readers of inventory formats: one a file, found by name or because it recognises the source."""
