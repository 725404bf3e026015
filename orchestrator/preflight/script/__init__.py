"""The script, read without running it."""
