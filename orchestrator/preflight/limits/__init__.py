"""Storage, limits, and clocks."""
