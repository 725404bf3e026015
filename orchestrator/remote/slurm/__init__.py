"""Nodes of a Slurm job, reached with srun: each session is a step of the job."""
