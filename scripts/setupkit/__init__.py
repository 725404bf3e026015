"""What scripts/environment leaves to Python: which pins an installation needs, and how far pip is.

Standard library only: it runs before anything is installed.
"""
