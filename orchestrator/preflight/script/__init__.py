"""Checks of the script, which is read without running it."""
