"""GPUs: there, healthy, joined, and idle."""
