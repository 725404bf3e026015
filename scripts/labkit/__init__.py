"""The lab: a cluster on one machine, for tests, benchmarks and experiments.

cli        the command line, `scripts/lab`
life       up, find, down
lab        a running lab: run commands in its hosts, inspect them, break them
build      the files of a lab, and its traps
slurm      Slurm on a running lab
network    links, addresses and names
processes  find a lab's processes
host       process 1 of every host: creates its mounts, keeps its sshd, reaps
kernel     namespace and mount calls that Python 3.11 does not have

Nothing here imports anything at package level, so that process 1 of a host starts fast.
"""
