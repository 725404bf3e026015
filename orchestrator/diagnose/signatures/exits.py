"""How a process ended: signals and exit codes. A few of these rows also match the text of a shell or of
Python's faulthandler.

For SIGKILL, a shell or container reports 137 = 128 + 9, torchrun and subprocess -9, DeepSpeed's launcher
247 = 256 - 9.
"""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="exit.kill",
        meaning="killed by SIGKILL",
        patterns=(r": line \d{1,7}: +\d{1,10} Killed\b",),
        cause="the kernel killed it when memory ran out, or a scheduler or a person did",
        fix="check the kernel log of the node (`dmesg -T | grep -i kill`), and who stopped the run",
        kind=Kind.SYMPTOM,
        check="memory",
        asks=("memory",),
    ),
    Signature(
        id="exit.segv",
        meaning="crashed with SIGSEGV (segmentation fault)",
        patterns=(
            r"^Fatal Python error: Segmentation fault",
            r": line \d{1,7}: +\d{1,10} Segmentation fault\b",
        ),
        cause="a bug in compiled code: a package that does not match torch, or a data loader's library",
        fix="run with PYTHONFAULTHANDLER=1 to see the Python line; compare versions between nodes",
        check="sw.versions",
    ),
    Signature(
        id="exit.bus",
        meaning="crashed with SIGBUS (bus error)",
        patterns=(r"^Fatal Python error: Bus error", r": line \d{1,7}: +\d{1,10} Bus error\b"),
        cause="usually /dev/shm is full; or a memory-mapped file was truncated",
        fix="containers: --shm-size=16g or --ipc=host; hosts: mount -o remount,size=16g /dev/shm",
        check="shm",
        asks=("places",),
    ),
    Signature(
        id="exit.abort",
        meaning="aborted (SIGABRT)",
        patterns=(r"^Fatal Python error: Aborted", r": line \d{1,7}: +\d{1,10} Aborted\b"),
        cause="C++ code aborted: an uncaught exception, torch's watchdog, or gloo at exit",
        fix="read the last lines of this rank; if it happens at exit, call destroy_process_group()",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="exit.uncaught",
        meaning="an uncaught exception in C++ code ended the process",
        patterns=(r"terminate called after throwing an instance of",),
        cause="the line with `what():` names it",
        fix="read `what():`; if torch's watchdog raised it, look at the rank that failed first",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="exit.illegal",
        meaning="crashed with SIGILL (illegal instruction)",
        cause="a package was built for a newer processor than that of this node",
        fix="install a build for this processor; compare `lscpu` between the nodes",
        check="sw.versions",
    ),
    Signature(
        id="exit.arithmetic",
        meaning="crashed with SIGFPE (arithmetic error)",
        cause="compiled code divided an integer by zero",
        fix="run with PYTHONFAULTHANDLER=1 to see the Python line",
    ),
    Signature(
        id="exit.terminated",
        meaning="ended by SIGTERM",
        cause="its launcher stops the other ranks of the node when one fails; or a scheduler did",
        fix="look at the rank that failed first",
        kind=Kind.CASCADE,
        after="the stop of the run",
    ),
    Signature(
        id="exit.hangup",
        meaning="ended by SIGHUP",
        patterns=(r": line \d{1,7}: +\d{1,10} Hangup\b",),
        cause="its terminal or SSH session was closed",
        fix="start the run with orch launch, tmux or nohup",
        check="host.linger",
    ),
    Signature(
        id="exit.interrupt",
        meaning="ended by SIGINT",
        cause="Ctrl-C was pressed",
        fix="nothing, if you stopped it",
        kind=Kind.SYMPTOM,
        after="a stop of the run",
    ),
    Signature(
        id="exit.pipe",
        meaning="ended by SIGPIPE",
        cause="the program that read its output has ended",
        fix="do not pipe a rank into a program that may end before it",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="exit.time-limit",
        meaning="ended by a time limit",
        patterns=(r"\bCANCELLED AT \S+ DUE TO TIME LIMIT",),
        cause="the limit on CPU time (`ulimit -t`), or the scheduler's limit for the job, was reached",
        fix="request more time, and save checkpoints",
    ),
    Signature(
        id="exit.slurm",
        meaning="Slurm ended the job: {reason}",
        patterns=(r"\bCANCELLED AT \S+ DUE TO (?P<reason>NODE FAILURE|PREEMPTION)",),
        cause="a node of the job failed, or a job of higher priority took its place",
        fix="restart from a checkpoint; exclude a node that failed (--exclude)",
    ),
    Signature(
        id="exit.not-executable",
        meaning="the command could not be executed (exit code 126)",
        cause="the file is not executable, or its first line names no interpreter",
        fix="chmod +x the file, or correct its first line (#!)",
        check="sw.launcher",
    ),
    Signature(
        id="exit.not-found",
        meaning="the command was not found (exit code 127)",
        cause="it is not on the PATH of this node: a non-interactive login activates no environment",
        fix="give the absolute path of the environment's command (orch: `python:` in the inventory)",
        check="sw.launcher",
    ),
    Signature(
        id="exit.code",
        meaning="exited with an error code",
        cause="the script exited by itself, or a program that it ran failed; it printed no known error",
        fix="read the last lines that this rank printed",
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
