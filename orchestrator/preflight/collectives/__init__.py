"""A small job of orch's own, started on the nodes as the user's would be, and its results.

all_reduce   the script that runs on the nodes
task         the script's argument, and the messages that it prints
trial        start it on all nodes, read its output, leave nothing behind
result       the result, from the messages of all ranks
failure      why it failed, from the last output of its ranks and launchers
speed        which nodes were slow, and how fast it was overall
measure      the trial of one backend, and another for what seemed slow
"""
