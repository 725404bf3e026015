"""Slurm: run its programs, and read what they print."""
