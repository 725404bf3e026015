"""What the job runs on: the same on every node, and starting there."""
