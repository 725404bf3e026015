"""The software that the job runs on: the same on every node, and able to start."""
