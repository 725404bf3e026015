"""What can be measured on a node, one file per subject; `check.py` describes the names of probes."""
