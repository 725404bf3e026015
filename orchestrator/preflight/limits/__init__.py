"""Storage, limits, and the clock."""
