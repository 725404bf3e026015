"""InfiniBand, RoCE and EFA devices."""
