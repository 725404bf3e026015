"""What can be measured on a node, one file per subject; `check.py` says how probes are named."""
