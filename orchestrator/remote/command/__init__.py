"""Transports whose nodes are reached by a local program that runs a shell command there."""
