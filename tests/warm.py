"""Commands of orch without the start of a Python for each: forks of one process that has imported orch.

A command is a process of its own, with the environment, folder and pipes that it is given; what is saved is
its imports and the end of its interpreter, which are most of what a short command costs. A test of these
(which modules, which encoding, which signals) runs `python -m orchestrator`.

usage: python -m tests.warm SOCKET     forks for every connection, until its standard input ends
"""

from __future__ import annotations

import atexit
import errno
import gc
import json
import os
import pkgutil
import pty
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parent.parent
_LANGUAGE = "C.UTF-8"
"""The LANG of the process, and so of its forks."""
# What starts something when it is imported, or wants what not everybody has installed.
_NOT_IMPORTED = ("orchestrator.__main__", "orchestrator.node", "orchestrator.provision")
_STARTS = "all_reduce"


class Warm:
    """Starts the process with its first command; `close` ends it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="orch-warm-")
        self._path = f"{self._folder.name}/socket"
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        words: list[str],
        environment: Mapping[str, str],
        folder: Path,
        timeout: float = 60,
        *,
        streams: Mapping[int, int] = {},
        prelude: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `orch` with these words to its end; `streams` are what it has as 0, 1 and 2.

        Without them it reads nothing, and its output is captured. `prelude` is a script that runs first in
        the same process. Raises subprocess.TimeoutExpired.
        """
        outputs = {number: _Output() for number in (1, 2) if number not in streams}
        with Path(os.devnull).open("rb") as nothing:
            given = {0: nothing.fileno(), **streams}
            given |= {number: output.writing for number, output in outputs.items()}
            descriptors = [given[n] for n in range(3)]
            command = self._start(words, environment, folder, descriptors, prelude)
        for output in outputs.values():
            os.close(output.writing)
        code = command.wait(timeout)
        texts = (outputs[n].text(timeout) if n in outputs else "" for n in (1, 2))
        return subprocess.CompletedProcess(words, code, *texts)

    def start(self, words: list[str], environment: Mapping[str, str], folder: Path) -> Running:
        """Start `orch` with these words; it reads nothing."""
        reading, writing = os.pipe()
        errors = _Output()
        with Path(os.devnull).open("rb") as nothing:
            descriptors = [nothing.fileno(), writing, errors.writing]
            command = self._start(words, environment, folder, descriptors)
        os.close(writing)
        os.close(errors.writing)
        return Running(command, os.fdopen(reading, encoding="utf-8"), errors)

    def run_on_terminal(
        self,
        words: list[str],
        environment: Mapping[str, str],
        folder: Path,
        size: tuple[int, int],
        timeout: float = 60,
    ) -> tuple[int, bytes]:
        """Run `orch` on a terminal of (lines, columns); return its exit code and what it wrote there."""
        terminal, slave = pty.openpty()
        termios.tcsetwinsize(slave, size)
        command = self._start(words, environment, folder, [slave, slave, slave])
        output = _Output(terminal)
        code = command.wait(timeout)
        os.close(slave)
        return code, output.data(timeout)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate(timeout=30)  # which closes its standard input
        self._folder.cleanup()

    def _start(
        self,
        words: list[str],
        environment: Mapping[str, str],
        folder: Path,
        descriptors: list[int],
        prelude: Path | None = None,
    ) -> _Command:
        assert environment["LANG"] == _LANGUAGE
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", self._path], cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env={"PATH": os.environ["PATH"], "LANG": _LANGUAGE},
            )  # fmt: skip
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n"
        link = socket.socket(socket.AF_UNIX)
        link.connect(self._path)
        socket.send_fds(link, [b"."], descriptors)
        request = {"words": words, "environment": dict(environment), "folder": str(folder)}
        request["prelude"] = "" if prelude is None else str(prelude)
        link.sendall(json.dumps(request).encode() + b"\n")
        return _Command(words, link)


class _Command:
    """A fork that is a command."""

    def __init__(self, words: list[str], link: socket.socket) -> None:
        self._words = words
        self._link = link
        self._answers = link.makefile("rb")
        self.pid = int(self._answers.readline())

    def wait(self, timeout: float) -> int:
        """Return its exit code, as subprocess has it; kills it after `timeout`."""
        self._link.settimeout(timeout)
        with self._link, self._answers:
            try:
                return int(self._answers.readline())
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self._words, timeout) from None


class Running:
    """A command that has been started: `stdout` is what it prints, as it comes."""

    def __init__(self, command: _Command, stdout: TextIO, errors: _Output) -> None:
        self._command = command
        self._errors = errors
        self.stdout = stdout
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._command.pid, number)

    def wait(self, timeout: float = 60) -> str:
        """Wait for its end, and return what it wrote to standard error; kills it after `timeout`."""
        self.returncode = self._command.wait(timeout)
        self.stdout.close()
        return self._errors.text(timeout)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            self.wait()


class _Output:
    """A pipe, or the master of a terminal, that is read until nobody can write to it any more."""

    def __init__(self, reading: int | None = None) -> None:
        self.writing = -1
        if reading is None:
            reading, self.writing = os.pipe()
        self._reading = reading
        self._data = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._reading, 1 << 16):
                self._data += data
        except OSError as error:
            if error.errno != errno.EIO:  # what a terminal says at its end
                raise
        finally:
            os.close(self._reading)

    def data(self, timeout: float) -> bytes:
        """Return all of it. Raises AssertionError after `timeout`."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "what the command has started keeps its output open"
        return self._data

    def text(self, timeout: float) -> str:
        """Return it as subprocess does with text=True."""
        return self.data(timeout).decode().replace("\r\n", "\n").replace("\r", "\n")


# -- the process -------------------------------------------------------------------------------------


def main(path: str) -> None:
    """Fork for every connection. In a fork this returns, and Python ends as it does after a command."""
    _import_all()
    gc.freeze()  # or each fork would look through all of it, and so copy it
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        signal.signal(
            signal.SIGCHLD, signal.SIG_IGN
        )  # nobody waits for those that wait for commands
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _serve(link)
                return
            link.close()


def _import_all() -> None:
    import orchestrator

    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not module.name.startswith(_NOT_IMPORTED) and not module.name.endswith(_STARTS):
            import_module(module.name)


def _serve(link: socket.socket) -> None:
    """Fork the command and say how it ended; returns in the command, once it has run."""
    _, descriptors, _, _ = socket.recv_fds(link, 1, 3)
    with link.makefile("rb") as requests:
        request = json.loads(requests.readline())
    pid = os.fork()
    if pid == 0:
        link.close()
        _become(**request, descriptors=descriptors)
        return
    for descriptor in descriptors:
        os.close(descriptor)
    link.sendall(b"%d\n" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    link.sendall(b"%d\n" % code)
    os._exit(0)


def _become(
    words: list[str],
    environment: dict[str, str],
    folder: str,
    prelude: str,
    descriptors: list[int],
) -> None:
    """Be the command, as `python -m orchestrator` would be in this environment and folder."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    # By these a program names itself: `python -m orchestrator`, or `orch` for the completion of a shell.
    is_completion = "_ORCH_COMPLETE" in environment
    sys.argv = ["orch" if is_completion else f"{ROOT}/orchestrator/__main__.py", *words]
    sys.modules["__main__"].__package__ = None if is_completion else "orchestrator"
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        setattr(sys, name, _reopened(getattr(sys, name), mode))

    from orchestrator.cli import main as orch

    if prelude:
        runpy.run_path(prelude)
    try:
        orch()
    except SystemExit as ended:
        _end(ended.code)
    _end(0)


def _end(code: object) -> None:
    """End as Python does, without taking its objects apart, which would copy all of the parent's memory."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))


def _reopened(stream: TextIO, mode: str) -> TextIO:
    """Return a new object for what its descriptor now is: it may be buffered otherwise."""
    return os.fdopen(  # type: ignore[return-value]
        stream.fileno(), mode, encoding=stream.encoding, errors=stream.errors, closefd=False,
        buffering=1 if stream.name == "<stderr>" else -1,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
