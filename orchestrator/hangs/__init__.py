"""What the ranks of a run wait for, from what its nodes tell of their processes."""
