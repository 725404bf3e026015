"""Hostfiles as people have them: their shapes are those of files in public repositories, the names are not.

`HOSTFILES` has, by a name, the text, what it is read as, and each host's user, port and ranks (None: auto).
"""

from __future__ import annotations

from typing import NamedTuple

DEEPSPEED, OPEN_MPI = "a DeepSpeed hostfile", "an Open MPI hostfile"
RANKFILE, MPICH = "an Open MPI rankfile", "an MPICH hostfile (HOST:RANKS)"
LSF, SGE = "an LSF hostfile (HOST SLOTS)", "an SGE hostfile (PE_HOSTFILE)"
PLAIN, SLOT_A_LINE = "a list of hosts", "a list of hosts, a line for each slot"


class Hostfile(NamedTuple):
    text: str
    dialect: str
    hosts: str
    """`[user@]name[:port]=ranks`, separated by blanks."""


HOSTFILES = {
    # DeepSpeed, and what writes or reads the same: Horovod, FlagScale, dstack, LLaVA, MLX
    "as-in-the-manual": Hostfile(
        "worker-1 slots=4\nworker-2 slots=4\n", DEEPSPEED, "worker-1=4 worker-2=4"
    ),
    "uneven": Hostfile("n1 slots=8\nn2 slots=2\nn3 slots=1\n", DEEPSPEED, "n1=8 n2=2 n3=1"),
    "one-node": Hostfile("AB-C1-10-140-0-9 slots=8\n", DEEPSPEED, "AB-C1-10-140-0-9=8"),
    "no-end-of-line": Hostfile(
        "10.0.9.10 slots=8\n10.0.9.15 slots=8", DEEPSPEED, "10.0.9.10=8 10.0.9.15=8"
    ),
    "full-names": Hostfile(
        "lab0.staff.example.edu slots=4\nlab1.staff.example.edu slots=4\n",
        DEEPSPEED,
        "lab0.staff.example.edu=4 lab1.staff.example.edu=4",
    ),
    "local-names": Hostfile(
        "pi01.local slots=1\npi02.local slots=1\n", DEEPSPEED, "pi01.local=1 pi02.local=1"
    ),
    "localhost": Hostfile("localhost slots=2", DEEPSPEED, "localhost=2"),
    "types-of-devices": Hostfile(
        "# ip slots type=xxx[optional]\n# master\n10.1.1.1 slots=8 type=A100\n10.1.1.2 slots=8 type=B150\n",
        DEEPSPEED,
        "10.1.1.1=8 10.1.1.2=8",
    ),
    "with-a-tail": Hostfile("n1 slots=4 the old one\nn2 slots=4 # new\n", DEEPSPEED, "n1=4 n2=4"),
    "with-maximum": Hostfile(
        "n1 slots=2 max_slots=2\nn2 slots=1 max-slots=1", DEEPSPEED, "n1=2 n2=1"
    ),
    "with-users": Hostfile(
        "root@10.0.0.1 slots=8\nroot@10.0.0.2 slots=8\n",
        DEEPSPEED,
        "root@10.0.0.1=8 root@10.0.0.2=8",
    ),
    "indented": Hostfile("   n1 slots=8\n\tn2\tslots=8  \n\n\n", DEEPSPEED, "n1=8 n2=8"),
    "from-windows": Hostfile(
        "\ufeffn1 slots=8\r\n\r\n# two\r\nn2 slots=8\r\n", DEEPSPEED, "n1=8 n2=8"
    ),
    "switched-off": Hostfile("n1 slots=8\n#n2 slots=8\nn3 slots=8\n", DEEPSPEED, "n1=8 n3=8"),
    "pasted-from-a-page": Hostfile("n1\u00a0slots=8\n", DEEPSPEED, "n1=8"),
    "ipv6": Hostfile("fd00::17 slots=8\nfd00::18 slots=8\n", DEEPSPEED, "node0=8 node1=8"),
    # Open MPI
    "maximum-first": Hostfile("n1 max_slots=8 slots=4\n", OPEN_MPI, "n1=4"),
    "only-maximum": Hostfile(
        "N03 port=10022 max_slots=20\nN04 port=10022 max_slots=20\n",
        OPEN_MPI,
        "N03:10022=20 N04:10022=20",
    ),
    "with-blanks": Hostfile("n1 slots = 4\nn2 slots= 4 max_slots =8\n", OPEN_MPI, "n1=4 n2=4"),
    "other-keys": Hostfile("n1 cpu=4\nn2 count=3\n", OPEN_MPI, "n1=4 n2=3"),
    "comments": Hostfile(
        "// all of them\n/* not this:\nn0 slots=9 */\nn1 slots=2 # two\nn2 slots=4 max-slots=4 // four\n",
        DEEPSPEED,
        "n1=2 n2=4",
    ),
    "user-as-a-key": Hostfile(
        "me@n1 username=you slots=1\nn2 user_name=me slots=1", OPEN_MPI, "you@n1=1 me@n2=1"
    ),
    "named-again": Hostfile("n1 slots=2\nn2 slots=1\nn1\n", OPEN_MPI, "n1=3 n2=1"),
    "all-named-again": Hostfile("n1\nn2 slots=2\nn1\n", OPEN_MPI, "n1=2 n2=2"),
    "excluded": Hostfile("n1 slots=2\nn2 slots=2\n^n1\n", OPEN_MPI, "n2=2"),
    "ports-alone": Hostfile(
        "n1 port=2201 slots=1\nn2 port=2202 slots=1\n", OPEN_MPI, "n1:2201=1 n2:2202=1"
    ),
    "rankfile": Hostfile(
        "rank 0=n1 slot=0:0-1\nrank 1=n1 slot=1:*\nrank 2=me@n2 slot=0\n", RANKFILE, "n1=2 me@n2=1"
    ),
    # MPICH, Intel MPI, MS-MPI
    "colons": Hostfile("H-1:4\nH-2:4\n", MPICH, "H-1=4 H-2=4"),
    "colons-and-none": Hostfile(
        "# made by a script\namax\namax:1\nlily:1\n", MPICH, "amax=2 lily=1"
    ),
    "colons-and-users": Hostfile(
        "n1:2 user=me binding=user:0,1\nn2:3 # three\n", MPICH, "me@n1=2 n2=3"
    ),
    "colons-again": Hostfile("n1:2\nn2:3\nn1:5\n", MPICH, "n1=7 n2=3"),
    "colons-and-ipv6": Hostfile("[fd00::17]:4\nnode0:2\n", MPICH, "node1=4 node0=2"),
    # Bare lists: ColossalAI, PBS_NODEFILE, machinefiles
    "names": Hostfile("spur-3\nspur-4", PLAIN, "spur-3 spur-4"),
    "addresses": Hostfile("10.244.2.29\n10.244.3.19", PLAIN, "10.244.2.29 10.244.3.19"),
    "short-names": Hostfile("c5\nc6\nc7\n", PLAIN, "c5 c6 c7"),
    "users": Hostfile(
        "ubuntu@10.0.0.4\nubuntu@10.0.0.5\n", PLAIN, "ubuntu@10.0.0.4 ubuntu@10.0.0.5"
    ),
    "slot-a-line": Hostfile("n7\nn7\nn7\nn2\nn2\nn2\n", SLOT_A_LINE, "n7=3 n2=3"),
    "slots-mixed": Hostfile("n1\nn2\nn1\n", SLOT_A_LINE, "n1=2 n2=1"),
    # LSF, SGE
    "lsf": Hostfile(
        "# user-specified\nhosta 8\nhostb 8\nhosta 2\nhostc\n", LSF, "hosta=10 hostb=8 hostc=1"
    ),
    "sge": Hostfile(
        "c-12.lan 16 all.q@c-12.lan UNDEFINED\nc-13.lan 16 all.q@c-13.lan <NULL>\n"
        "c-12.lan 4 short.q UNDEFINED\n",
        SGE,
        "c-12.lan=20 c-13.lan=16",
    ),
}

OTHER_FORMATS = {
    "orch": "hosts: [a]\n",
    "orch-many-lines": "# ours\ndefaults:\n  devices: 8\nhosts:\n  - a\n",
    "orch-misspelt": "host:\n  - a\n",
    "yaml-list": "- a\n- b\n",
    "ansible-section": "[gpu]\nn1\nn2\n",
    "ansible-section-with-slots": "[gpu]\nn1 slots=8\n",
    "ansible-section-at-the-end": "n1 slots=8\n[gpu:vars]\nx=1\n",
    "ansible-variable": "n1 ansible_host=10.0.0.1 slots=8\nn2 slots=8\n",
    "ansible-other-variable": "n1 rack=4\n",
    "ansible-yaml": "all:\n  hosts:\n    n1:\n",
    "json": '{"hosts": ["a"]}\n',
    "json-list": '["a"]\n',
    "script": "#!/bin/sh\nhostname\n",
    "script-without-a-mark": "cd /tmp\nls\n",
    "python": "import os\nslots=4\n",
    "hosts-of-the-system": "127.0.0.1 localhost\n10.0.0.1 node1 node1.lan\n",
    "ssh-config": "Host n1\n  HostName 10.0.0.1\n",
    "binary": "\x7fELF\x02\x01\x00\x00 slots=4\n",
    "escape": "n1 slots=4\n\x1b[2J\n",
    "toml": "[tool.orch]\nslots = 4\n",
    "prose": "These hosts are ours.\n",
    "empty": "",
    "only-comments": "# nothing\n",
}
