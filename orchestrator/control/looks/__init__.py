"""Look at the node of a rank that failed, for what its output does not tell.

A signature names the looks that it asks for (`Signature.asks`); one file each:

places    the file systems of the paths that the rank used: full, read-only, stale, silent
limits    the limits of the rank, and how much of them is used
memory    whether the kernel killed a process for lack of memory
ports     who holds the port
locks     who holds the file that it waited for
gpus      who uses the memory of its GPU
xids      what the driver reported about GPUs while it ran
clocks    whether the clock of the node was set, or differs from the others

model     what a look is given, and what it returns
registry  all looks; what to ask, and what the answers mean
"""
