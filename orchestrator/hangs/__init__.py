"""What the ranks of a run wait for, from snapshots of their processes on the nodes."""
