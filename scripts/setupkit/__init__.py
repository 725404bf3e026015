"""The parts of scripts/environment in Python: the pins of an installation, and the progress of pip.

Standard library only: it runs before anything is installed.
"""
