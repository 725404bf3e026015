"""The lab: a cluster in a box, for tests, measurements and a look around.

cli        the command line, `scripts/lab`
life       up, find, down
lab        a lab as a value: run commands in its hosts, look at them, do them harm
build      the files of a lab, traps among them
network    links, addresses and names
processes  find a lab's processes
host       what is process 1 of every host: it makes the host's mounts, keeps its sshd, reaps
kernel     namespace and mount calls that Python 3.11 does not offer

Nothing here imports anything at package level, so that process 1 of a host starts fast.
"""
