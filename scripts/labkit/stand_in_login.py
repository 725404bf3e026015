"""What a login on a node of a crowd runs in place of Python: see `stand_in.py`.

It has `stand_in.py` serve on this process's standard streams, and waits for the end. It imports little, as
it is started for every node.
"""

from __future__ import annotations

import array
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    environment = b"\0".join(name + b"=" + value for name, value in os.environb.items())
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    server.sendmsg([environment], [rights])
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    server.recv(1)
