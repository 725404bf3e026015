"""Start the processes of one run on this node, outlive the connection, and end the run without rests.

The supervisor is a daemon of its own session, without terminal or pipe to SSH. It starts the launcher
(or the ranks themselves), is the subreaper of everything below it, records how each process ended,
and keeps `status.json` in the run's folder, which is all that anyone needs to know about it:

    {"state": "running" | "stopping" | "ended", "attempt": N, "pid": 17, "start": 123456,
     "began": T, "ended": T,
     "launcher": {"pid", "started", "ended", "code", "signal"} | null, "stopped": REASON | null,
     "stopped_at": T | null, "left": [PID, ...]}

Times are seconds since the epoch. `left` names what could not be killed; it is empty when the end is
clean. To stop a run, put a request into `stop.json` ({"grace": SECONDS, "reason": TEXT}) and send the
supervisor SIGTERM (`request_stop`): the ranks get SIGTERM, then what is left of the run gets it, and
after the grace everything is killed. A run with a lease stops by itself when no controller was heard
of for so long (`lease.py`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional, Set

from . import files, hook, linux, oom, packages, processes, records
from .lease import Lease
from .marks import Marker
from .shim import error_file, exit_fields, write_wrapper

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LAUNCHER_GRACE = 1.0  # once its ranks are gone, a launcher has nothing left to save
_UNKILLABLE = (
    10.0  # seconds after SIGKILL at which a process in an uninterruptible wait is given up
)
_LAST_WORD = 600.0  # seconds for which it waits for a full disk to take how the run ended
_LOOK_EVERY = 2.0  # seconds between looks at whether the run's folder is as it should be
_ROOMY = 16 << 20  # bytes free from which on it takes room that a rank might want
_GRACE = 3.0  # seconds, where nobody says how many
_RANK_RECORD = re.compile(r"rank-\d+\.json\Z")


def request_stop(directory: str, grace: float, reason: str) -> bool:
    """Ask the supervisor of the run in `directory` to stop; return False when it does not live."""
    status = records.read_status(directory)
    if status is None or not processes.is_alive(status["pid"], status["start"]):
        return False
    # A full disk keeps no run from being stopped: the supervisor then says its own reason.
    request = {"grace": grace, "reason": reason}
    files.try_to_write_json(records.request_path(directory), request, patience=0.0)
    try:
        os.kill(status["pid"], signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def environment_of_job(unset: List[str], given: Dict[str, str]) -> Dict[str, str]:
    """Return what a process of a job finds: the login's environment, and `given` laid over it.

    Without the `unset`, and without what torchrun would take for its options.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in unset and not name.startswith("PET_")
    }
    environment.update(given)
    return environment


class Supervisor:
    """The life of one run on this node, from start to proof of the end."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._run: str = spec["run"]
        self._spec = spec
        self._directory = files.run_directory(spec["run"], spec["node"])
        self._attempt = os.path.join(self._directory, files.attempt_name(spec["attempt"]))
        self._records: Dict[int, Dict[str, Any]] = {}  # of our own children, by pid
        self._status: Dict[str, Any] = {
            "state": "running", "attempt": spec["attempt"], "pid": os.getpid(), "start": 0,
            "began": time.time(), "ended": None, "launcher": None, "stopped": None, "stopped_at": None,
            "left": [],
        }  # fmt: skip
        lease = spec.get("lease")
        self._lease = None if lease is None else Lease(self._directory, lease)
        self._grace: float = spec.get("grace", _GRACE)
        self._oom_kills = oom.Count()
        self._marker = Marker(self._directory, spec["attempt"])
        self._next_look = 0.0
        self._stop_at: Optional[float] = None  # monotonic: when the grace is over
        self._launcher_told: Optional[float] = None

    def main(self, report: Callable[[Optional[str]], None]) -> None:
        """Start everything, `report` None or what went wrong, then watch until the end."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        linux.become_subreaper()
        linux.set_name("orch-supervisor")
        own = processes.read_process(os.getpid())
        assert own is not None
        self._status["start"] = own.start
        try:
            os.makedirs(self._attempt, mode=0o700, exist_ok=True)
            files.remove(records.request_path(self._directory))  # an earlier attempt's
            files.set_room_aside(self._directory)
            files.write_json(records.status_path(self._directory), self._status)
            hook.put_hook(self._directory)
            if self._lease is not None:
                self._lease.begin()
            for child in self._spec["processes"]:
                self._spawn(child)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._end()
            report(_explain(error))
            return
        self._write_status()
        report(None)
        self._watch()
        self._end()

    def _spawn(self, child: Dict[str, Any]) -> None:
        base = os.path.join(self._attempt, child["name"])
        environment = environment_of_job(self._spec["unset"], self._spec["env"])
        environment.update(child["env"])
        environment.update(
            ORCH_RUN=self._run, ORCH_DIR=self._directory, ORCH_ATTEMPT=str(self._spec["attempt"])
        )
        hook.hook_into(environment, self._directory, base)
        if child["rank"] is None:
            wrapper = os.path.join(self._directory, "shim")
            write_wrapper(wrapper)
            environment.update(PYTHON_EXEC=wrapper, ORCH_PYTHON=child["argv"][0])
        else:
            error_file(environment, base)
        output, error = files.open_log(base + ".out"), files.open_log(base + ".err")
        try:
            process = subprocess.Popen(
                child["argv"], stdin=subprocess.DEVNULL, stdout=output, stderr=error,
                cwd=self._spec["cwd"], env=environment, start_new_session=True,
                preexec_fn=_unblock,
            )  # fmt: skip
        finally:
            os.close(output)
            os.close(error)
        process.returncode = 0  # it is reaped by pid, below; Popen is only the safe way to start it
        record: Dict[str, Any] = {
            "pid": process.pid,
            "started": time.time(),
            "ended": None,
            "code": None,
            "signal": None,
        }
        if child["rank"] is None:
            self._status["launcher"] = record
        else:
            record.update(
                rank=child["rank"], local_rank=child["local_rank"], attempt=self._spec["attempt"],
                path=base + ".json", error_file=environment["TORCHELASTIC_ERROR_FILE"],
            )  # fmt: skip
            self._write_record(record)
        self._records[process.pid] = record

    def _watch(self) -> None:
        while any(record["ended"] is None for record in self._records.values()):
            if self._stop_at is not None and time.monotonic() > self._stop_at + _UNKILLABLE:
                return
            wait = min(self._advance_stop(), self._look(), self._marker.step())
            got = signal.sigtimedwait(_WATCHED, wait)
            if got is not None and got.si_signo != signal.SIGCHLD:
                self._heed_request()
            self._reap()

    def _look(self) -> float:
        """Mend the run's folder if it is time to; return in how many seconds it will be."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            packages.mark_as_used()
            if _or_none(records.read_status, self._directory) is None:
                self._write_all()  # a script has removed it: others still look for it
            if not files.has_room_aside(self._directory):
                self._set_room_aside()
            if self._lease is not None:
                self._lease.mend()
        return self._next_look - now

    def _set_room_aside(self) -> None:
        """Do it again once the disk has room for everybody: it was full in between."""
        try:
            disk = os.statvfs(self._directory)
            if disk.f_bavail * disk.f_frsize > _ROOMY:
                files.set_room_aside(self._directory)
        except OSError:
            pass  # tried again at the next look

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            record = self._records.get(pid)
            if record is None:
                continue  # an orphan of the run that came to us, its subreaper
            record.update(exit_fields(status), ended=time.time())
            if "path" in record:
                record["oom_kills"] = self._oom_kills.since()
                self._write_record(record)
            else:
                self._write_status()

    # -- stopping ------------------------------------------------------------------------------

    def _heed_request(self) -> None:
        request = _or_none(records.read_request, self._directory)
        if request is None:
            request = {"grace": self._grace, "reason": "the supervisor was told to stop"}
        self._begin_stop(request["grace"], request["reason"])

    def _begin_stop(self, grace: float, reason: str) -> None:
        deadline = time.monotonic() + grace
        if self._stop_at is not None:
            self._stop_at = min(self._stop_at, deadline)
            return
        self._stop_at = deadline
        self._status.update(state="stopping", stopped=reason, stopped_at=time.time())
        self._write_status()
        processes.send(self._live_ranks(), signal.SIGTERM)

    def _advance_stop(self) -> float:
        """Take the next step of a stop that is due; return how long to wait for news, in seconds."""
        if self._stop_at is None:
            left = _LOOK_EVERY if self._lease is None else self._lease.left()
            if self._lease is None or left > 0:
                return left
            why = "no controller was heard of for {:g} s".format(self._lease.seconds)
            self._begin_stop(self._grace, why)
            return 0.0
        now = time.monotonic()
        if now >= self._stop_at:
            processes.send(processes.of_run(self._directory, os.getpid()), signal.SIGKILL)
            return 0.05
        if self._launcher_told is None and not self._live_ranks():
            processes.send(processes.of_run(self._directory, os.getpid()), signal.SIGTERM)
            self._launcher_told = now
            self._stop_at = min(self._stop_at, now + _LAUNCHER_GRACE)
        return min(0.05, self._stop_at - now)

    def _live_ranks(self) -> Set[int]:
        """Return the pids of the ranks that have not ended, whoever started them."""
        live = {pid for pid, record in self._records.items() if record["ended"] is None}
        live -= {(self._status["launcher"] or {}).get("pid")}
        for number in files.attempts(self._directory, self._spec["attempt"]):
            folder = os.path.join(self._directory, files.attempt_name(number))
            for entry in _list(folder):
                if _RANK_RECORD.match(entry):
                    record = _or_none(records.read_rank, os.path.join(folder, entry))
                    if record is not None and record["ended"] is None:
                        live.add(record["pid"])
        return {pid for pid in live if processes.is_of_run(pid, self._directory, os.getpid())}

    # -- the end -------------------------------------------------------------------------------

    def _end(self) -> None:
        """Leave nothing of the run behind, and say so."""
        rest = processes.of_run(self._directory, os.getpid())
        if rest:
            processes.send(rest, signal.SIGTERM)
            deadline = time.monotonic() + _LAUNCHER_GRACE
            while rest and time.monotonic() < deadline:
                signal.sigtimedwait({signal.SIGCHLD}, 0.05)
                self._reap()
                rest = processes.of_run(self._directory, os.getpid())
        self._status["left"] = processes.kill_all(self._directory, os.getpid())
        self._marker.look()  # nothing grows any more: this is the time of the last bytes
        self._status.update(state="ended", ended=time.time())
        self._write_all(_LAST_WORD)  # again, for a disk that was full then

    def _write_status(self, patience: float = 0.0) -> None:
        files.try_to_write_json(records.status_path(self._directory), self._status, patience)

    def _write_all(self, patience: float = 0.0) -> None:
        for record in self._records.values():
            if "path" in record:
                self._write_record(record)
        self._write_status(patience)

    def _write_record(self, record: Dict[str, Any]) -> None:
        public = {key: value for key, value in record.items() if key != "path"}
        files.try_to_write_json(record["path"], public, patience=0.0)


def _list(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # a script has removed it


def _or_none(
    read: Callable[[str], Optional[Dict[str, Any]]], path: str
) -> Optional[Dict[str, Any]]:
    """Read a record; for one who goes on whatever has become of the file."""
    try:
        return read(path)
    except OSError:
        return None


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return "{}: {}".format(error.filename, error.strerror)
    return str(error)
