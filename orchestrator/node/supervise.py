"""Start the processes of one run on this node, outlive the connection, and end the run without rests.

The supervisor is a daemon of its own session, without terminal or pipe to SSH. It starts the launcher
(or the ranks themselves), is the subreaper of everything below it, records how each process ended,
and keeps `status.json` in the run's folder, which is all that anyone needs to know about it:

    {"state": "running" | "stopping" | "ended", "attempt": N, "pid": 17, "start": 123456,
     "began": T, "ended": T,
     "launcher": {"pid", "started", "ended", "code", "signal"} | null, "stopped": REASON | null,
     "stopped_detail": {...} | null, "stopped_at": T | null, "left": [PID, ...],
     "behind": what ranks left running (`leftovers.py`) | null}

Times are seconds since the epoch; a REASON and its detail are those of `reasons.py`, or of another
version. `left` names what could not be killed; it is empty when the end is clean. To stop a run, put a
request into `stop.json` ({"grace": SECONDS, "reason": REASON, "detail": {...}}) and send the supervisor
SIGTERM (`request_stop`): the ranks get SIGTERM, then what is left of the run gets it, and after the grace
everything is killed. A run with a lease stops by itself when no controller was heard of for so long
(`lease.py`). Ranks whose launcher has ended before them get SIGTERM and the grace, too.
What ranks that have all exited with 0 leave running may go on for `linger` seconds, unless the run is
stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

from . import files, linux, oom, packages, processes, records, stack_hook
from .environment import environment_of_job
from .lease import Lease
from .leftovers import Leftovers
from .log_writer import Streams
from .reasons import StopReason
from .shim import carry, error_file, exit_fields, why_not_started, write_wrapper
from .write_times import WriteTimeRecorder

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LAUNCHER_GRACE = 1.0  # once its ranks are gone, a launcher has nothing left to save
_UNKILLABLE = (
    10.0  # seconds after SIGKILL at which a process in an uninterruptible wait is given up
)
_LAST_WORD = 600.0  # seconds for which it waits for a full disk to take how the run ended
_LOOK_EVERY = 2.0  # seconds between looks at whether the run's folder is as it should be
_ROOMY = 16 << 20  # bytes free from which on it takes room that a rank might want
_GRACE = 3.0  # seconds, where nobody says how many


def request_stop(directory: str, grace: float, reason: str, detail: Dict[str, Any]) -> bool:
    """Ask the supervisor of the run in `directory` to stop, for a reason of `reasons.py` or of another
    version; return False when it does not live.
    """
    status = records.read_status(directory)
    if status is None or not processes.is_alive(status["pid"], status["start"]):
        return False
    # A full disk keeps no run from being stopped: the supervisor then says its own reason.
    request = {"grace": grace, "reason": reason, "detail": detail}
    files.try_to_write_json(records.request_path(directory), request, patience=0.0)
    return processes.terminate({status["pid"]}) > 0


class Supervisor:
    """The life of one run on this node, from start to proof of the end."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._run: str = spec["run"]
        self._spec = spec
        self._directory = files.run_directory(spec["run"], spec["node"])
        self._attempt = os.path.join(self._directory, files.attempt_name(spec["attempt"]))
        self._records: Dict[int, Dict[str, Any]] = {}  # of our own children, by pid
        self._writers: Dict[int, Streams] = {}  # of their output, by the log writer's pid
        self._status: Dict[str, Any] = {
            "state": "running", "attempt": spec["attempt"], "pid": os.getpid(), "start": 0,
            "began": time.time(), "ended": None, "launcher": None, "stopped": None,
            "stopped_detail": None, "stopped_at": None, "left": [], "behind": None,
        }  # fmt: skip
        lease = spec.get("lease")
        self._lease = None if lease is None else Lease(self._directory, lease)
        self._grace: float = spec.get("grace", _GRACE)
        self._leftovers = Leftovers(spec.get("linger", 0.0))
        self._oom_kills = oom.Count()
        self._marker = WriteTimeRecorder(self._directory, spec["attempt"])
        self._next_look = 0.0
        self._stop_at: Optional[float] = None  # monotonic: when the grace is over
        self._launcher_told: Optional[float] = None
        self._signals = linux.SignalQueue(_WATCHED)

    def main(self, report: Callable[[Optional[str]], bool]) -> None:
        """Start everything, `report` None or what went wrong, then watch until the end.

        Where nobody hears that it has started, it has not for anybody: then all is ended again.
        """
        linux.become_subreaper()
        linux.set_name("orch-supervisor")
        own = processes.read_process(os.getpid())
        assert own is not None
        self._status["start"] = own.start
        try:
            files.remake_folder(self._attempt)
            files.remove(records.request_path(self._directory))  # an earlier attempt's
            files.set_room_aside(self._directory)
            files.write_json(records.status_path(self._directory), self._status)
            stack_hook.put_hook(self._directory)
            if self._lease is not None:
                self._lease.begin()
            for child in self._spec["processes"]:
                self._spawn(child)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._end()
            report(_explain(error, self._spec["cwd"]))
            return
        self._write_status()
        if report(None):
            self._watch()
        self._end()

    def _spawn(self, child: Dict[str, Any]) -> None:
        base = os.path.join(self._attempt, child["name"])
        environment = environment_of_job(self._spec["unset"], self._spec["env"])
        environment.update(child["env"])
        environment.update(
            ORCH_RUN=self._run, ORCH_DIR=self._directory, ORCH_ATTEMPT=str(self._spec["attempt"])
        )
        stack_hook.hook_into(environment, self._directory, base)
        argv: List[str] = child["argv"]
        if child["rank"] is None:
            wrapper = os.path.join(self._directory, "shim")
            write_wrapper(wrapper)
            _check_can_run(wrapper)
            program = child["program_at"]
            if program is None:
                environment.update(PYTHON_EXEC=wrapper, ORCH_PYTHON=argv[0])
            else:
                argv = [*argv[:program], wrapper, *argv[program:]]
            carry(environment)
        else:
            error_file(environment, base)
        streams = Streams(base)
        self._writers[streams.pid] = streams
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=streams.stdout, stderr=streams.stderr,
                cwd=self._spec["cwd"], env=environment, start_new_session=True,
                preexec_fn=_unblock,
            )  # fmt: skip
        finally:
            streams.close_writing()
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
        while self._goes_on():
            if self._stop_at is not None and time.monotonic() > self._stop_at + _UNKILLABLE:
                return
            pauses = (
                self._advance_stop(),
                self._look(),
                self._marker.step(),
                self._leftovers.pause(),
            )
            wait = min(pauses)
            got = self._signals.wait(wait)
            if got is not None and got.number != signal.SIGCHLD:
                self._heed_request(got)
            self._reap()

    def _goes_on(self) -> bool:
        """Tell whether a child of ours lives, ranks outlive their launcher, or what they left may stay."""
        if any(record["ended"] is None for record in self._records.values()):
            return True
        if self._status["launcher"] is not None and self._live_ranks():
            self._stop_ranks(self._grace)
            return True
        return self._waits_for_leftovers()

    def _waits_for_leftovers(self) -> bool:
        if self._stop_at is not None or not self._has_succeeded():
            return False
        stay = self._leftovers.may_stay(self._rest())
        self._tell_leftovers()
        return stay

    def _has_succeeded(self) -> bool:
        """Tell whether all that this started, launcher or ranks, has exited with 0."""
        return all(record["code"] == 0 for record in self._records.values())

    def _tell_leftovers(self) -> None:
        if self._status["behind"] != self._leftovers.told:
            self._status["behind"] = self._leftovers.told
            self._write_status()

    def _look(self) -> float:
        """Mend the run's folder if it is time to; return in how many seconds it will be."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            packages.mark_as_used()
            if _or_none(records.read_status, self._directory) != self._status:
                self._write_all()  # a script has removed or changed it: others still look for it
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
            if pid in self._writers:
                streams = self._writers.pop(pid)
                if not streams.has_ended(status):  # it was killed, and another goes on
                    self._writers[streams.pid] = streams
                continue
            record = self._records.get(pid)
            if record is None:  # an orphan of the run that came to us, its subreaper
                self._record_orphan(pid, status)
                continue
            record.update(exit_fields(status), ended=time.time())
            if "path" in record:
                record["oom_kills"] = self._oom_kills.since()
                self._write_record(record)
            else:
                self._write_status()

    def _record_orphan(self, pid: int, status: int) -> None:
        """Record how a rank ended whose shim was killed, and so could not."""
        for path, record in self._unended_ranks():
            if record["pid"] == pid:
                record.update(exit_fields(status), ended=time.time())
                files.try_to_write_json(path, record, patience=0.0)

    # -- stopping ------------------------------------------------------------------------------

    def _heed_request(self, got: linux.Signal) -> None:
        request = _or_none(records.read_request, self._directory)
        if request is None:
            detail = {"signal": int(got.number), "pid": got.sender}
            reason = StopReason.SUPERVISOR_SIGNALLED.value
            request = {"grace": self._grace, "reason": reason, "detail": detail}
        self._begin_stop(request["grace"], request["reason"], request["detail"])

    def _begin_stop(self, grace: float, reason: str, detail: Dict[str, Any]) -> None:
        if self._stop_at is None:
            self._status.update(stopped=reason, stopped_detail=detail, stopped_at=time.time())
        self._stop_ranks(grace)

    def _stop_ranks(self, grace: float) -> None:
        """Send the ranks SIGTERM, unless they had it; the shortest grace of all calls counts."""
        deadline = time.monotonic() + grace
        if self._stop_at is not None:
            self._stop_at = min(self._stop_at, deadline)
            return
        self._stop_at = deadline
        self._status["state"] = "stopping"
        self._write_status()
        processes.terminate(processes.workers(self._live_ranks()))

    def _advance_stop(self) -> float:
        """Take the next step of a stop that is due; return how long to wait for news, in seconds."""
        if self._stop_at is None:
            left = _LOOK_EVERY if self._lease is None else self._lease.left()
            if self._lease is None or left > 0:
                return left
            expired = StopReason.LEASE_EXPIRED.value
            self._begin_stop(self._grace, expired, {"seconds": self._lease.seconds})
            return 0.0
        now = time.monotonic()
        if now >= self._stop_at:
            processes.send(self._rest(), signal.SIGKILL)
            return 0.05
        if self._launcher_told is None and not self._live_ranks():
            processes.terminate(self._rest())
            self._launcher_told = now
            self._stop_at = min(self._stop_at, now + _LAUNCHER_GRACE)
        return min(0.05, self._stop_at - now)

    def _rest(self) -> Set[int]:
        """Return the pids of all that is left of the run, but for the log writers, which are last."""
        return processes.without_log_writers(processes.of_run(self._directory, os.getpid()))

    def _live_ranks(self) -> Set[int]:
        """Return the pids of the ranks that have not ended, whoever started them."""
        live = {pid for pid, record in self._records.items() if record["ended"] is None}
        live -= {(self._status["launcher"] or {}).get("pid")}
        live.update(record["pid"] for _, record in self._unended_ranks())
        return {pid for pid in live if processes.is_of_run(pid, self._directory, os.getpid())}

    def _unended_ranks(self) -> Iterator[Tuple[str, Dict[str, Any]]]:
        """Yield the path and the record of each rank whose end nobody has recorded."""
        for number in files.attempts(self._directory, self._spec["attempt"]):
            folder = os.path.join(self._directory, files.attempt_name(number))
            for entry in _list(folder):
                if files.RECORD.match(entry):
                    path = os.path.join(folder, entry)
                    record = _or_none(records.read_rank, path)
                    if record is not None and record["ended"] is None:
                        yield path, record

    # -- the end -------------------------------------------------------------------------------

    def _end(self) -> None:
        """Leave nothing of the run behind, and say so."""
        self._write_status()  # a rank may have written there that all is over
        rest = self._rest()
        if rest:
            if self._has_succeeded():
                self._leftovers.note_end(rest)
                self._tell_leftovers()
            processes.terminate(rest)
            deadline = time.monotonic() + _LAUNCHER_GRACE
            while rest and time.monotonic() < deadline:
                self._signals.wait(0.05)
                self._reap()
                rest = self._rest()
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


def _check_can_run(wrapper: str) -> None:
    """Raise ValueError where the launcher could not start what it is to start for each rank."""
    if not os.access(wrapper, os.X_OK):
        raise ValueError(
            "{}: programs cannot be run from this file system (it is mounted noexec), and a launcher must "
            "run this one for every rank: use --launcher direct, which needs none, or mount it without "
            "noexec".format(wrapper)
        )


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


def _explain(error: Exception, cwd: str) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return "{}: {}".format(error.filename, why_not_started(error.filename, error, cwd))
    return str(error)
