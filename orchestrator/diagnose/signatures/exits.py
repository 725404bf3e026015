"""How a process ended: signals and exit codes. Few of these rows have a text of their own, from a shell
or from Python's faulthandler.

137 = 128 + 9: a shell or container says so of SIGKILL; torchrun and subprocess say -9.
"""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="exit.kill",
        meaning="killed by SIGKILL",
        patterns=(r": line \d{1,7}: +\d{1,10} Killed\b",),
        cause="somebody or something sent it: the kernel when memory runs out, a scheduler, a person",
        fix="look at the kernel log of the node (`dmesg -T | grep -i kill`) and at who stopped the run",
        kind=Kind.SYMPTOM,
        check="memory",
    ),
    Signature(
        id="exit.segv",
        meaning="crashed with SIGSEGV (segmentation fault)",
        patterns=(
            r"^Fatal Python error: Segmentation fault",
            r": line \d{1,7}: +\d{1,10} Segmentation fault\b",
        ),
        cause="a fault in compiled code: a package that does not fit torch, or a data loader's library",
        fix="run with PYTHONFAULTHANDLER=1 to see the Python line; compare versions between nodes",
        check="sw.versions",
    ),
    Signature(
        id="exit.bus",
        meaning="crashed with SIGBUS (bus error)",
        patterns=(
            r"^Fatal Python error: Bus error",
            r": line \d{1,7}: +\d{1,10} Bus error\b",
        ),
        cause="mostly /dev/shm is full; or a file mapped into memory was cut short",
        fix="--shm-size=16g or --ipc=host for a container; on a host, remount /dev/shm larger",
        check="shm",
    ),
    Signature(
        id="exit.abort",
        meaning="aborted (SIGABRT)",
        patterns=(
            r"^Fatal Python error: Aborted",
            r": line \d{1,7}: +\d{1,10} Aborted\b",
        ),
        cause="C++ code gave up: an exception nobody caught, torch's watchdog, or gloo at exit",
        fix="read the last lines of this rank; at exit, call destroy_process_group()",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="exit.uncaught",
        meaning="an exception in C++ code ended the process",
        patterns=(r"terminate called after throwing an instance of",),
        cause="its line with `what():` says which",
        fix="see what `what():` says; from torch's watchdog: look at the rank that failed first",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="exit.illegal",
        meaning="crashed with SIGILL (illegal instruction)",
        patterns=(),
        cause="a package was built for a newer processor than this node's",
        fix="install a build for this processor; compare `lscpu` between the nodes",
        check="sw.versions",
    ),
    Signature(
        id="exit.arithmetic",
        meaning="crashed with SIGFPE (arithmetic error)",
        patterns=(),
        cause="compiled code divided an integer by zero",
        fix="run with PYTHONFAULTHANDLER=1 to see the Python line",
    ),
    Signature(
        id="exit.terminated",
        meaning="ended by SIGTERM",
        patterns=(),
        cause="its launcher stops the other ranks of the node when one fails; or a scheduler did",
        fix="look at the rank that failed first",
        kind=Kind.CASCADE,
        after="the stop of the run",
    ),
    Signature(
        id="exit.hangup",
        meaning="ended by SIGHUP",
        patterns=(),
        cause="its terminal or SSH session was closed",
        fix="start the run with orch launch, or under tmux",
        check="host.linger",
    ),
    Signature(
        id="exit.interrupt",
        meaning="ended by SIGINT",
        patterns=(),
        cause="somebody pressed Ctrl-C",
        fix="nothing, if you stopped it",
        kind=Kind.SYMPTOM,
        after="a stop of the run",
    ),
    Signature(
        id="exit.pipe",
        meaning="ended by SIGPIPE",
        patterns=(),
        cause="what read its output has gone",
        fix="do not pipe a rank into a program that may end before it",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="exit.time-limit",
        meaning="ended by a time limit",
        patterns=(r"\bCANCELLED AT \S+ DUE TO TIME LIMIT",),
        cause="the limit on processor time, or the scheduler's on the job, was reached",
        fix="ask for more time, and save checkpoints",
    ),
    Signature(
        id="exit.slurm",
        meaning="Slurm ended the job: {reason}",
        patterns=(r"\bCANCELLED AT \S+ DUE TO (?P<reason>NODE FAILURE|PREEMPTION)",),
        cause="a node of the job failed, or a job of higher priority took its place",
        fix="start it again from a checkpoint; leave a node that failed out (--exclude)",
    ),
    Signature(
        id="exit.not-executable",
        meaning="the command could not be executed (exit code 126)",
        patterns=(),
        cause="the file is not executable, or its first line names no interpreter",
        fix="chmod +x, or look at its first line",
        check="sw.launcher",
    ),
    Signature(
        id="exit.not-found",
        meaning="the command was not found (exit code 127)",
        patterns=(),
        cause="it does not exist here; a non-interactive login activates no environment",
        fix="give `python` in the inventory as the absolute path of the environment's interpreter",
        check="sw.launcher",
    ),
    Signature(
        id="exit.code",
        meaning="ended with an exit code of its own",
        patterns=(),
        cause="the script ended itself (sys.exit, os._exit), or a program that it ran failed; no error "
        "that is known was printed",
        fix="see the last lines that this rank printed",
        kind=Kind.SYMPTOM,
    ),
)

BY_SIGNAL = {
    1: "exit.hangup",
    2: "exit.interrupt",
    4: "exit.illegal",
    6: "exit.abort",
    7: "exit.bus",
    8: "exit.arithmetic",
    9: "exit.kill",
    11: "exit.segv",
    13: "exit.pipe",
    15: "exit.terminated",
    24: "exit.time-limit",
    25: "disk.file-limit",
}
BY_CODE = {126: "exit.not-executable", 127: "exit.not-found"}
