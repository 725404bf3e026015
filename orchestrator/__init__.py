"""orch: one command launches a PyTorch training script on every machine you can reach over SSH."""

__version__ = "0.1.0"
