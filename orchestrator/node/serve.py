"""Answer the controller over stdin and stdout: one JSON object a line, raw bytes after a chunk's line.

The first line that the agent writes is {"hello": {...}}. A request is {"id": N, "verb": NAME, ...}; its
answer is {"id": N, "ok": VALUE} or {"id": N, "error": TEXT}. `follow` sends any number of
{"id": N, ...} lines before its answer; one with "n" is followed by n raw bytes. Work that takes time, or
listens, is a task beside the conversation (`tasks.py`). The agent ends with its stdin, and its tasks with
it. A supervisor that it started does not, unless its run is a trial (`trial.py`).

The verbs that place the files of `run`: see `placed.py` and, for where a project's folder is, `project.py`:

    find    workdir, owner, source -> {"workdir"}: where it is, or would be
    enter   run, node, workdir, own, owner, source, digest, names, overwrite, again
    compare  run, tree (packed entries of its source)
    begin, settle  run
    place   run, files (packed, see `arrive.py`): begin, write them, settle
    leave   run, stay (give up the turn only)

The verbs for the use of this machine; see `machine.py`:

    use     run, node, since, claim -> {"taken", "has", "users": [[run, seconds]], "ahead": [run]}
    unuse   run

The verbs of a run's life; `run` and `node` name it, and `limit` is the seconds that a task has:

    fits    env, unset, processes -> null | what the kernel would not accept: see `environment.py`
    start   run, node, attempt, cwd, env, unset, processes, and optionally lease (seconds after which it
            stops unless a controller was `heard`), grace (seconds, for a stop without a request) and linger
            (seconds for what ranks leave running after success) -> {"problem": text | null}
    heard   run, node -> {"renewed": bool}, false if the run has no lease
    follow  run, node, offsets {file: bytes already received}, quiet (only reports, no bytes; default
            false): see `follow.py` -> null
    stop    run, node, grace, reason, detail -> {"alive": bool, "time": seconds since the epoch}
    restart_rank  run, node, attempt, rank, pid -> {"ended": bool}: see `supervise.py`
    put_call  run, node, name, offset, data -> null; list_results  run, node; read_result  run, node, rank,
            offset, length: see `function_call.py`
    sweep   run, node -> {"left": [pid], "time": seconds since the epoch, when it began}
    evidence  limit, run, node, attempt, rank, killed, workdir: see `evidence.py`
    activity  run, node, paths -> what its ranks have done since the first question: see `activity.py`
    gpus    limit, visible (CUDA_VISIBLE_DEVICES or null) -> {"gpus", "answered"}: see `gpus.py`
    stacks  limit, run, node, brief: see `stacks.py`
    changed limit, run, node, workdir, since, and optionally after (a path): see `changed.py`
    written limit, run, node, workdir, since -> {"files", "bytes", "folder"}: see `changed.py`
    usage   limit, runs [[run, node]] -> {"bytes": [bytes on disk | null if there are none]}
    forget  limit, runs [[run, node]], and for the rest of trials and of older versions of orch node,
            trials_older (seconds): see `forget.py`
            -> {"removed", "live": [[run, node]], "failed": [[run, node, why]], "bytes": freed}
"""

from __future__ import annotations

import itertools
import json
import os
import select
import time
from typing import Any, Callable, Dict, List, Union

from . import (
    daemon,
    environment,
    files,
    function_call,
    lease,
    network,
    ports,
    processes,
    project,
    scratch,
    supervise,
    trial,
)
from .activity import Sampler
from .facts import facts
from .follow import Follower
from .machine import Place
from .placed import Placing
from .tasks import TASKS, Task, refusal

_MAX_UNSENT_BYTES = 1 << 20  # at which a follow pauses


class Agent:
    """One conversation with a controller."""

    def __init__(self) -> None:
        self._unsent = bytearray()
        self._followers: Dict[int, Follower] = {}
        self._tasks: Dict[int, Task] = {}
        self._ending: Dict[int, int] = {}  # task -> the request to end it
        self._locks: List[int] = []  # of reserved ports: passed on to the supervisor
        self._placings: Dict[str, Placing] = {}  # by run
        self._places: Dict[str, Place] = {}  # by run
        self._samplers: Dict[str, Sampler] = {}  # by the run's folder
        self._trials: Dict[str, str] = {}  # run -> node: they end with the conversation
        self._buffer = b""
        self._verbs: Dict[str, Callable[..., Any]] = {
            "facts": facts,
            "prepare": project.prepare,
            "shared": project.shared,
            "tidy": project.tidy,
            "find": lambda **wanted: {"workdir": project.find(create=False, **wanted).path},
            "enter": self._enter,
            "compare": lambda run, tree: self._placings[run].compare(tree),
            "begin": lambda run: self._placings[run].begin(),
            "settle": lambda run: self._placings[run].settle(),
            "place": lambda run, files: self._placings[run].place(files),
            "leave": self._leave,
            "use": lambda run, node, **how: self._place(run, node).ask(**how),
            "unuse": self._unuse,
            "route": network.route,
            "reserve": self._reserve,
            "owner": ports.owner,
            "fits": environment.fits,
            "start": self._start,
            "heard": lambda run, node: {"renewed": lease.renew(files.run_directory(run, node))},
            "activity": self._activity,
            "stop": self._stop,
            "restart_rank": supervise.restart_rank,
            "sweep": self._sweep,
            "put_call": function_call.put_call,
            "list_results": function_call.list_results,
            "read_result": function_call.read_result,
            "put": self._put,
            "discard": trial.discard,
        }

    def run(self) -> None:
        """Serve until the controller hangs up."""
        try:
            self._serve()
        finally:
            for task in self._tasks.values():
                task.end()
            for run, node in self._trials.items():
                trial.discard(run, node)

    def _serve(self) -> None:
        self._send({"hello": {"pid": os.getpid(), "time": time.time()}})
        os.set_blocking(0, False)
        os.set_blocking(1, False)  # a slow controller must not block the agent
        while True:
            self._write()
            poll = select.poll()
            poll.register(0, select.POLLIN)
            if self._unsent:
                poll.register(1, select.POLLOUT)
            paused = len(self._unsent) > _MAX_UNSENT_BYTES
            waited: List[Union[Follower, Task, Sampler]] = list(self._tasks.values())
            waited += self._samplers.values()
            waited += [] if paused else self._followers.values()
            for descriptor in itertools.chain(*(each.descriptors() for each in waited)):
                poll.register(descriptor, select.POLLIN)
            timeout = min((each.wait() for each in waited), default=None)
            # Rounded up: a wait of a fraction of a millisecond must not spin.
            ready = poll.poll(None if timeout is None else int(timeout * 1000 + 0.999))
            if any(descriptor == 0 for descriptor, _ in ready) and not self._receive():
                return
            if not paused:
                self._advance_followers()
            self._advance_tasks()
            self._advance_samplers()

    def _send(self, header: Dict[str, Any], payload: bytes = b"") -> None:
        header = dict(header, n=len(payload)) if payload else header
        self._unsent += json.dumps(header).encode("ascii") + b"\n" + payload

    def _write(self) -> None:
        """Write as much as the pipe accepts."""
        try:
            while self._unsent:
                del self._unsent[: os.write(1, self._unsent)]
        except BlockingIOError:
            pass

    def _receive(self) -> bool:
        """Handle requests that have arrived; return False when the controller has hung up."""
        try:
            data = os.read(0, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            request = json.loads(line)
            self._answer(request.pop("id"), request.pop("verb"), request)
        return True

    def _answer(self, number: int, verb: str, arguments: Dict[str, Any]) -> None:
        try:
            if verb == "follow":
                self._begin_follow(number, **arguments)
            elif verb in TASKS:
                self._tasks[number] = Task(verb, **arguments)
            elif verb == "end":
                self._end(number, **arguments)
            else:
                self._send({"id": number, "ok": self._verbs[verb](**arguments)})
        except Exception as error:  # any error must be reported to the controller
            self._send(dict(refusal(error), id=number))

    def _reserve(self, address: str, preferred: int, exact: bool) -> Any:
        port, lock = ports.reserve(address, preferred, exact)
        if lock is not None:
            self._locks.append(lock)
        return port

    def _enter(self, run: str, node: str, **more: Any) -> Dict[str, Any]:
        self._leave(run)
        self._placings[run] = Placing(run, node)
        return self._placings[run].enter(**more)

    def _leave(self, run: str, stay: bool = False) -> None:
        if stay:
            self._placings[run].turn.give_up()
        elif run in self._placings:
            self._placings.pop(run).leave()

    def _start(self, **spec: Any) -> Dict[str, Any]:
        run = spec["run"]
        place = self._place(run, spec["node"])
        place.use()
        held = self._locks + place.hold.descriptors
        if run in self._placings:
            held += self._placings[run].hold.descriptors
        problem = daemon.daemonise(spec, held)
        while self._locks:  # the supervisor holds them for as long as the run needs its port
            os.close(self._locks.pop())
        return {"problem": problem}

    def _place(self, run: str, node: str) -> Place:
        return self._places.setdefault(run, Place(run, node))

    def _unuse(self, run: str) -> None:
        if run in self._places:
            self._places.pop(run).leave()

    def _stop(
        self, run: str, node: str, grace: float, reason: str, detail: Dict[str, Any]
    ) -> Dict[str, Any]:
        asked = time.time()
        alive = supervise.request_stop(files.run_directory(run, node), grace, reason, detail)
        return {"alive": alive, "time": asked}

    def _activity(self, run: str, node: str, paths: bool) -> Dict[str, Any]:
        directory = files.run_directory(run, node)
        if directory not in self._samplers:
            self._samplers[directory] = Sampler(directory)
        return self._samplers[directory].report(paths)

    def _sweep(self, run: str, node: str) -> Dict[str, Any]:
        """Kill what is left of a run that has lost its supervisor."""
        began = time.time()
        left = processes.kill_all(files.run_directory(run, node))
        scratch.remove(run)
        return {"left": left, "time": began}

    def _put(self, run: str, node: str, **more: str) -> Dict[str, Any]:
        self._trials[run] = node
        return trial.put(run, node, **more)

    def _end(self, number: int, task: int) -> None:
        """End the task or the follow with this number; the answer is sent once it is gone."""
        if task in self._followers:
            self._followers.pop(task).close()
        if task in self._tasks:
            self._tasks[task].end()
            self._ending[task] = number
        else:
            self._send({"id": number, "ok": None})

    def _advance_tasks(self) -> None:
        """Send the answers of tasks, and remove those that have ended."""
        for number, task in list(self._tasks.items()):
            answer = task.step()
            if answer is not None:
                self._send(dict(answer, id=number))
            if task.ended:
                del self._tasks[number]
                if number in self._ending:
                    self._send({"id": self._ending.pop(number), "ok": None})

    def _begin_follow(
        self, number: int, run: str, node: str, offsets: Dict[str, int], quiet: bool = False
    ) -> None:
        def send(header: Dict[str, Any], payload: bytes) -> None:
            self._send(dict(header, id=number), payload)

        directory = files.run_directory(run, node)
        self._followers[number] = Follower(directory, offsets, send, quiet)

    def _advance_followers(self) -> None:
        for number, follower in list(self._followers.items()):
            try:
                follower.step()
            except Exception as error:  # an error of one run must not affect the others
                self._send(dict(refusal(error), id=number))
            else:
                if not follower.finished:
                    continue
                self._send({"id": number, "ok": None})
            follower.close()
            del self._followers[number]

    def _advance_samplers(self) -> None:
        for directory, sampler in list(self._samplers.items()):
            sampler.step()
            if sampler.is_over:
                sampler.close()
                del self._samplers[directory]


def main() -> None:
    """Serve one controller on stdin and stdout."""
    try:
        Agent().run()
    except BrokenPipeError:
        pass  # the controller is gone
