"""A small job of orch's own, started on the nodes as the user's would be, and what it came to.

all_reduce   the script, as it runs on the nodes
task         what the script is told, and what it tells
trial        start it on all nodes, hear it, leave nothing behind
measured     what came of it, from what all ranks told
failure      why it failed, from what its ranks and launchers last said
pace         who was slow, and how fast it was as a whole
stage        the trial of one backend, and once more for whoever looked slow
"""
