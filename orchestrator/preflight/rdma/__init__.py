"""InfiniBand, RoCE and EFA, as the kernel shows them."""
