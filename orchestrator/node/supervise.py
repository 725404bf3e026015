"""Start the processes of one run on this node, outlive the connection, and leave no processes behind.

The supervisor is a daemon in a session of its own, without a terminal or a pipe to SSH. It starts the
launcher, the ranks themselves, or both if the launcher serves them. It is the subreaper of everything below
it, records how each process ended, and keeps `status.json` in the run's folder, which has all that others
need to know about it:

    {"state": "running" | "stopping" | "ended", "attempt": N, "pid": 17, "start": 123456,
     "began": T, "ended": T,
     "launcher": {"pid", "started", "ended", "code", "signal"} | null, "stopped": REASON | null,
     "stopped_detail": {...} | null, "stopped_at": T | null, "left": [PID, ...],
     "behind": what ranks left running (`leftovers.py`) | null}

Times are seconds since the epoch; a REASON and its detail are those of `reasons.py`, or of another version.
`left` has what could not be killed; it is empty if the end is clean. To stop a run, write a request to
`stop.json` ({"grace": SECONDS, "reason": REASON, "detail": {...}}) and send the supervisor SIGTERM
(`request_stop`): the ranks get SIGTERM, then what is left of the run gets it, and after the grace all is
killed. A run with a lease stops by itself once it has expired (`lease.py`). Ranks that outlive their
launcher get SIGTERM and the grace, too. Once all ranks have exited with 0, what they leave running may keep
running for `linger` seconds, unless the run is stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from typing import Any, Callable, Dict, Iterator, Optional, Set, Tuple

from . import files, function_call, linux, numa, packages, processes, records, scratch, stack_hook
from .environment import job_environment
from .lease import Lease
from .leftovers import Leftovers
from .log_writer import Streams
from .probes import read
from .rank_setting import RankSetting
from .reasons import StopReason
from .shim import carry, error_file, exit_fields, new_record, why_not_started, write_wrapper
from .write_times import WriteTimeRecorder

_HANDLED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LAUNCHER_GRACE = 1.0  # seconds: once its ranks are gone, a launcher has nothing left to save
# Seconds after SIGKILL at which a process in an uninterruptible wait is given up.
_KILL_TIMEOUT = 10.0
_FINAL_WRITE_TIMEOUT = 600.0  # seconds to write how the run ended to a full disk
_CHECK_INTERVAL = 2.0  # seconds between checks of the run's folder
_STOP_POLL_INTERVAL = 0.05
_MIN_FREE_BYTES = 16 << 20  # with less, it takes no space that a rank might want
_DEFAULT_GRACE = 3.0  # seconds


def request_stop(directory: str, grace: float, reason: str, detail: Dict[str, Any]) -> bool:
    """Ask the supervisor of the run in `directory` to stop, for a reason of `reasons.py` or of another
    version; return False if it does not live.
    """
    status = records.read_status(directory)
    if status is None or not processes.is_alive(status["pid"], status["start"]):
        return False
    # A full disk does not keep a run from being stopped: then the supervisor records a reason of its own.
    request = {"grace": grace, "reason": reason, "detail": detail}
    files.try_to_write_json(records.request_path(directory), request, timeout=0.0)
    return processes.terminate({status["pid"]}) > 0


def restart_rank(run: str, node: str, attempt: int, rank: int, pid: int) -> Dict[str, bool]:
    """Kill the rank, if it still is that process, so that its launcher starts all ranks again.

    After a node has left an elastic job, the ranks on the others may wait for it in a collective until that
    times out; their launchers only check whether they live. Returns {"ended": whether it was killed}.
    """
    directory = files.run_directory(run, node)
    folder = files.attempt_folder(directory, attempt)
    record = records.read_rank(os.path.join(folder, "rank-{:d}.json".format(rank)))
    status = records.read_status(directory)
    if record is None or status is None or record["ended"] is not None or record["pid"] != pid:
        return {"ended": False}
    is_there = processes.is_of_run(pid, directory, status["pid"])
    if is_there:
        processes.send({pid}, signal.SIGKILL)
    return {"ended": is_there}


class Supervisor:
    """The life of one run on this node, from its start until nothing of it is left."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._spec = spec
        self._directory = files.run_directory(spec["run"], spec["node"])
        self._attempt = files.attempt_folder(self._directory, spec["attempt"])
        self._records: Dict[int, Dict[str, Any]] = {}  # of its own children, by pid
        self._writers: Dict[int, Streams] = {}  # of their output, by the log writer's pid
        self._status: Dict[str, Any] = {
            "state": "running", "attempt": spec["attempt"], "pid": os.getpid(), "start": 0,
            "began": time.time(), "ended": None, "launcher": None, "stopped": None,
            "stopped_detail": None, "stopped_at": None, "left": [], "behind": None,
        }  # fmt: skip
        lease = spec.get("lease")
        self._lease = None if lease is None else Lease(self._directory, lease)
        self._serves = spec.get("serves", False)
        """Whether its launcher starts no ranks, but serves those that orch starts, here or elsewhere."""
        self._grace: float = spec.get("grace", _DEFAULT_GRACE)
        self._leftovers = Leftovers(spec.get("linger", 0.0))
        self._setting = RankSetting()
        self._write_times = WriteTimeRecorder(self._directory, spec["attempt"])
        self._next_check = 0.0
        self._kill_at: Optional[float] = None  # monotonic: when the grace of a stop is over
        self._has_stopped_launcher = False
        self._signals = linux.SignalQueue(_HANDLED)

    def main(self, report: Callable[[Optional[str]], bool]) -> None:
        """Start everything, `report` None or what went wrong, then supervise until the end.

        If the report cannot be delivered, all is ended again.
        """
        linux.become_subreaper()
        linux.set_name(processes.SUPERVISOR)
        own = processes.live(os.getpid())
        assert own is not None
        self._status["start"] = own.start
        try:
            files.remake_folder(self._attempt)
            files.remove(records.request_path(self._directory))  # of an earlier attempt
            files.set_room_aside(self._directory)
            files.write_json(records.status_path(self._directory), self._status)
            stack_hook.put_hook(self._directory)
            if self._serves:
                scratch.make(self._spec["run"])
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
            self._supervise()
        self._end()

    def _spawn(self, child: Dict[str, Any]) -> None:
        base = os.path.join(self._attempt, child["name"])
        environment = job_environment(self._spec["unset"], {**self._spec["env"], **child["env"]})
        environment.update(ORCH_RUN=self._spec["run"], ORCH_DIR=self._directory)
        environment["ORCH_ATTEMPT"] = str(self._spec["attempt"])
        stack_hook.hook_into(environment, self._directory, base)
        argv = child["argv"]
        is_launcher = child["rank"] is None
        if is_launcher and not self._serves:
            wrapper = os.path.join(self._directory, "shim")
            write_wrapper(wrapper)
            _check_can_run(wrapper)
            program = child["program_at"]
            if program is None:
                environment.update(PYTHON_EXEC=wrapper, ORCH_PYTHON=argv[0])
            else:
                argv = [*argv[:program], wrapper, *argv[program:]]
            carry(environment)
        elif not is_launcher:
            error_file(environment, base)
            function_call.result_into(environment, base)
        cpus = _cpus_of(child, environment)
        streams = Streams(base)
        self._writers[streams.pid] = streams
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=streams.stdout, stderr=streams.stderr,
                cwd=self._spec["cwd"], env=environment, start_new_session=True,
                preexec_fn=partial(_before_exec, cpus),
            )  # fmt: skip
        finally:
            streams.close_writing()
        process.returncode = 0  # it is reaped by pid, below; Popen is only the safe way to start it
        record = self._records[process.pid] = new_record(process.pid)
        if is_launcher:
            self._status["launcher"] = record
        else:
            record.update(
                rank=child["rank"], local_rank=child["local_rank"], attempt=self._spec["attempt"],
                error_file=environment["TORCHELASTIC_ERROR_FILE"], **self._setting.at_start(),
            )  # fmt: skip
            self._write_record(record)

    def _supervise(self) -> None:
        while self._must_continue():
            if self._kill_at is not None and time.monotonic() > self._kill_at + _KILL_TIMEOUT:
                return
            wait = min(
                self._advance_stop(),
                self._check(),
                self._write_times.step(),
                self._leftovers.pause(),
            )
            signal_ = self._signals.wait(wait)
            if signal_ is not None and signal_.number != signal.SIGCHLD:
                self._handle_stop_signal(signal_)
            self._reap()

    def _must_continue(self) -> bool:
        """Return whether a child lives, ranks outlive their launcher, or what they left may stay."""
        if any(record["ended"] is None for record in self._records.values()):
            return True
        if self._status["launcher"] is not None and self._live_ranks():
            self._stop_ranks(self._grace)
            return True
        if self._kill_at is not None or not self._has_succeeded():
            return False
        stay = self._leftovers.may_stay(self._rest())
        self._report_leftovers()
        return stay

    def _has_succeeded(self) -> bool:
        """Return whether all children, launcher or ranks, have exited with 0."""
        return all(record["code"] == 0 for record in self._records.values())

    def _report_leftovers(self) -> None:
        if self._status["behind"] != self._leftovers.report:
            self._status["behind"] = self._leftovers.report
            self._write_status()

    def _check(self) -> float:
        """Restore the run's folder if it is time to check it; return the seconds until the next check."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_INTERVAL
            packages.mark_as_used()
            if records.try_read(records.read_status, self._directory) != self._status:
                self._write_all()  # a script has removed or changed it, and others still need it
            if not files.has_room_aside(self._directory):
                self._set_room_aside()
            if self._lease is not None:
                self._lease.restore()
        return self._next_check - now

    def _set_room_aside(self) -> None:
        """Reserve the space again once the disk, which was full, has enough for all."""
        try:
            disk = os.statvfs(self._directory)
            if disk.f_bavail * disk.f_frsize > _MIN_FREE_BYTES:
                files.set_room_aside(self._directory)
        except OSError:
            pass  # tried again at the next check

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
                if not streams.has_ended(status):  # it was killed, and another has replaced it
                    self._writers[streams.pid] = streams
                continue
            record = self._records.get(pid)
            if record is None:  # an orphan of the run that the kernel gave to its subreaper
                self._record_orphan(pid, status)
                continue
            record.update(exit_fields(status))
            if record is self._status["launcher"]:
                self._write_status()
            else:
                record.update(self._setting.at_end())
                self._write_record(record)

    def _record_orphan(self, pid: int, status: int) -> None:
        """Record how a rank ended that could not be recorded by its shim, which was killed."""
        for path, record in self._unended_ranks():
            if record["pid"] == pid:
                record.update(exit_fields(status))
                files.try_to_write_json(path, record, timeout=0.0)

    # -- stopping ------------------------------------------------------------------------------

    def _handle_stop_signal(self, received: linux.Signal) -> None:
        request = records.try_read(records.read_request, self._directory)
        if request is None:
            detail = {"signal": int(received.number), "pid": received.sender}
            reason = StopReason.SUPERVISOR_SIGNALLED.value
            request = {"grace": self._grace, "reason": reason, "detail": detail}
        self._begin_stop(request["grace"], request["reason"], request["detail"])

    def _begin_stop(self, grace: float, reason: str, detail: Dict[str, Any]) -> None:
        if self._kill_at is None:
            self._status.update(stopped=reason, stopped_detail=detail, stopped_at=time.time())
        self._stop_ranks(grace)

    def _stop_ranks(self, grace: float) -> None:
        """Send the ranks SIGTERM unless they have had it; the shortest grace of all calls counts."""
        kill_at = time.monotonic() + grace
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, kill_at)
            return
        self._kill_at = kill_at
        self._status["state"] = "stopping"
        self._write_status()
        processes.terminate(processes.workers(self._live_ranks()))

    def _advance_stop(self) -> float:
        """Take the next step of a stop if it is due; return how long to wait for signals, in seconds."""
        if self._kill_at is None:
            left = _CHECK_INTERVAL if self._lease is None else self._lease.left()
            if self._lease is None or left > 0:
                return left
            expired = StopReason.LEASE_EXPIRED.value
            self._begin_stop(self._grace, expired, {"seconds": self._lease.seconds})
            return 0.0
        now = time.monotonic()
        if now >= self._kill_at:
            processes.send(self._rest(), signal.SIGKILL)
            return _STOP_POLL_INTERVAL
        if not self._has_stopped_launcher and not self._live_ranks():
            processes.terminate(self._rest())
            self._has_stopped_launcher = True
            self._kill_at = min(self._kill_at, now + _LAUNCHER_GRACE)
        return min(_STOP_POLL_INTERVAL, self._kill_at - now)

    def _rest(self) -> Set[int]:
        """Return the pids of all that is left of the run, except the log writers, which end last."""
        return processes.without_log_writers(processes.of_run(self._directory, os.getpid()))

    def _live_ranks(self) -> Set[int]:
        """Return the pids of the ranks that have not ended, also of those that a launcher started."""
        live = {pid for pid, record in self._records.items() if record["ended"] is None}
        live -= {(self._status["launcher"] or {}).get("pid")}
        live.update(record["pid"] for _, record in self._unended_ranks())
        return {pid for pid in live if processes.is_of_run(pid, self._directory, os.getpid())}

    def _unended_ranks(self) -> Iterator[Tuple[str, Dict[str, Any]]]:
        """Yield the path and the record of each rank with no end on record."""
        for number in files.attempts(self._directory, self._spec["attempt"]):
            folder = files.attempt_folder(self._directory, number)
            for name in filter(files.RECORD.match, read.names("/", folder)):
                path = os.path.join(folder, name)
                record = records.try_read(records.read_rank, path)
                if record is not None and record["ended"] is None:
                    yield path, record

    # -- the end -------------------------------------------------------------------------------

    def _end(self) -> None:
        """Leave nothing of the run behind, and record that."""
        self._write_status()  # a rank may have written there that all is over
        rest = self._rest()
        if rest:
            if self._has_succeeded():
                self._leftovers.note(rest, ended=True)
                self._report_leftovers()
            processes.terminate(rest)
            deadline = time.monotonic() + _LAUNCHER_GRACE
            while rest and time.monotonic() < deadline:
                self._signals.wait(_STOP_POLL_INTERVAL)
                self._reap()
                rest = self._rest()
        self._status["left"] = processes.kill_all(self._directory, os.getpid())
        if self._serves:
            scratch.remove(self._spec["run"])
        self._write_times.check()  # no file grows any more: this is the time of the last bytes
        self._status.update(state="ended", ended=time.time())
        self._write_all(_FINAL_WRITE_TIMEOUT)  # again, for a disk that was full before

    def _write_status(self, timeout: float = 0.0) -> None:
        files.try_to_write_json(records.status_path(self._directory), self._status, timeout)

    def _write_all(self, timeout: float = 0.0) -> None:
        for record in self._records.values():
            if record is not self._status["launcher"]:
                self._write_record(record)
        self._write_status(timeout)

    def _write_record(self, record: Dict[str, Any]) -> None:
        path = os.path.join(self._attempt, "rank-{:d}.json".format(record["rank"]))
        files.try_to_write_json(path, record, timeout=0.0)


def _check_can_run(wrapper: str) -> None:
    """Raise ValueError if the launcher could not start what it has to start for each rank."""
    if not os.access(wrapper, os.X_OK):
        raise ValueError(
            "{}: programs cannot be run from this file system (it is mounted noexec), and a launcher must "
            "run this one for every rank: use --launcher direct, which needs none, or mount it without "
            "noexec".format(wrapper)
        )


def _cpus_of(child: Dict[str, Any], environment: Dict[str, str]) -> Optional[Set[int]]:
    """Return the CPUs that a rank is bound to, None for no binding. Raises ValueError if there are none."""
    mode = child.get("numa_binding")
    if mode is None:
        return None
    try:
        return numa.cpus_for(mode, child["local_rank"], environment, os.sched_getaffinity(0))
    except ValueError as error:
        raise ValueError("--numa-binding={}: {}".format(mode, error)) from None


def _before_exec(cpus: Optional[Set[int]]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    if cpus is not None:
        os.sched_setaffinity(0, cpus)


def _explain(error: Exception, cwd: str) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return "{}: {}".format(error.filename, why_not_started(error.filename, error, cwd))
    return str(error)
