"""The ranks of a draw: write bytes that the seed decides, and keep a journal outside orch's folders.

Started as `job.py CONFIG`, CONFIG a JSON object with what `config_of` names. The journal is one file a
process, `/tmp/soak/RANK-ATTEMPT-PID.jsonl`: an object a line, with `t` in seconds since the epoch.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

JOURNALS = "/tmp/soak"
COMPLAIN_EVERY = 7


def output(seed: int, rank: int, attempt: int, step: int, size: int) -> bytes:
    """The bytes that a rank writes to stdout in one step: text, no text, whole lines and parts."""
    own = random.Random(f"{seed} {rank} {attempt} {step}")
    body = own.randbytes(own.randint(1, size))
    if own.random() < 0.8:
        body = body.hex().encode()
    return b"step %d " % step + body + (b"\n" if own.random() < 0.9 else b"")


def complaint(seed: int, rank: int, attempt: int, step: int) -> bytes:
    """The bytes that it then writes to stderr."""
    if step % COMPLAIN_EVERY:
        return b""
    return b"rank %d attempt %d step %d of %d\n" % (rank, attempt, step, seed)


class Journal:
    """A rank's own notes; each is in the file, whole, before `note` returns."""

    def __init__(self, rank: int, attempt: int) -> None:
        Path(JOURNALS).mkdir(exist_ok=True)
        path = f"{JOURNALS}/{rank}-{attempt}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def note(self, event: str, **more: Any) -> None:
        """Write down that `event` is about to happen."""
        entry = {"event": event, "t": time.time(), **more}
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def leave(journal: Journal, how: str, number: int) -> None:
    """End in the way that the draw has for this rank."""
    journal.note("exit", how=how, number=number)
    if how == "raise":
        raise RuntimeError("as the draw has it")
    if how == "signal":
        os.kill(os.getpid(), number)
        time.sleep(60)
    sys.exit(number)


def work(config: dict[str, Any], journal: Journal, rank: int, attempt: int) -> None:
    """Take all steps, unless the draw has another end for this rank."""
    seed = config["seed"]
    ending = config["endings"].get(str(rank))
    if ending is not None and attempt > 0 and not ending["again"]:
        ending = None
    for step in range(config["steps"]):
        if ending is not None and ending["step"] == step:
            leave(journal, ending["how"], ending["number"])
        journal.note("writing", step=step)
        try:
            write_all(1, output(seed, rank, attempt, step, config["size"]))
            write_all(2, complaint(seed, rank, attempt, step))
        except OSError as error:
            journal.note("exit", how="disk", number=1, error=str(error))
            raise
        journal.note("wrote", step=step)
        time.sleep(config["pause"])
    journal.note("done")
    journal.note("exit", how="exit", number=0)


def main() -> None:
    """Be one rank."""
    config = json.loads(sys.argv[1])
    rank, attempt = int(os.environ["RANK"]), int(os.environ["ORCH_ATTEMPT"])
    journal = Journal(rank, attempt)

    def terminated(number: int, frame: object) -> None:
        journal.note("signal", number=number)
        if config["on_term"] != "ignore":
            code = 143 if config["on_term"] == "leave" else 0
            journal.note("exit", how="terminated", number=code)
            os._exit(code)

    if config["on_term"] != "default":
        signal.signal(signal.SIGTERM, terminated)
    journal.note("started", pid=os.getpid(), run=os.environ["ORCH_RUN"])
    if config["grandchildren"]:
        subprocess.Popen(["setsid", "sleep", "1000"])
    work(config, journal, rank, attempt)


if __name__ == "__main__":
    main()
