"""The transport `srun`: every session on a node is a step of a Slurm job."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConnectionLost, LaunchError, NodeError, Unreachable
from orchestrator.remote.base import GONE, Capabilities, Node, NodesTaken, OnResult, Transport
from orchestrator.remote.slurm.places import Place, ThisMachine
from orchestrator.slurm import allocation
from orchestrator.slurm.commands import job_here
from orchestrator.slurm.environment import kept_for_ranks
from orchestrator.slurm.job import JobEnd, checked_id, find_loss
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host
    from orchestrator.remote.slurm.login import LoginHost

DEFAULT_TIMEOUT = 10.0  # seconds for a step to start
_AT_ONCE = 16  # steps that are asked of slurmctld at the same time
# A step ends with its srun, and a supervisor with its step: so srun has a session of its own, and lives as
# long as the step. Closing the channel ends only `setsid`; the step sees closed pipes.
_DETACHED = ("setsid", "--fork", "--wait")
# A step gets everything that the job has on the node, beside other steps, and its output unchanged.
_OPTIONS = (
    "--overlap", "--nodes=1", "--ntasks=1", "--mem=0", "--cpu-bind=none", "--mpi=none",
    "--unbuffered", "--quiet", "--export=ALL", "--chdir=/",
)  # fmt: skip
# The home folder of the machine that launches may not be that of the node; ORCH_STEP: see node/step.py.
_BEGIN = (
    '[ -d "$HOME" ] || HOME=$(eval "echo ~$(id -un)"); export HOME ORCH_STEP=1; '
    'cd "$HOME" 2>/dev/null || cd /; exec sh -c "$1"'
)
_END_TIMEOUT = 15.0  # seconds until an ending job is taken for ended
_END_POLL_INTERVAL = 0.5  # seconds
_LASTING = "files that must last belong on a shared file system, or into --fetch of the launch"
_NO_PROGRAM = (126, 127)


class SrunTransport(Transport):
    """The nodes of a Slurm job, `job` (None: the one that this process belongs to).

    With `release`, the job was submitted for the run, and is cancelled at its end. With `login`, srun runs
    on that host, which orch reaches over SSH, with `accept_new` as for the transport `ssh`.

    A step lives as long as anything that it has started, so a run outlives its controller, but not the
    job, nor the machine on which srun runs.
    """

    name = "srun"
    # Slurm itself ends the steps of a node that does not answer (SlurmdTimeout).
    capabilities = Capabilities(outlives_controller=True, detects_lost_link=True)

    def __init__(
        self,
        job: str | int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        release: bool = False,
        login: str | LoginHost | None = None,
        accept_new: bool = False,
    ) -> None:
        super().__init__(timeout)
        for name, value in (("release", release), ("accept_new", accept_new)):
            if type(value) is not bool:
                raise ValueError(f"{name} is true or false, not {value!r:.100}")
        if accept_new and not isinstance(login, str):
            raise ValueError("accept_new goes with login: only that has a host key")
        self._is_own = release
        self._login = None if login is None else _login_host(login, timeout, accept_new=accept_new)
        given = job_here() if job is None else job
        if given is None:
            raise ValueError("this is no job of Slurm: name one, as in `-i slurm:4711`")
        if type(given) not in (str, int):
            raise ValueError(f"job is the id of a Slurm job, not {job!r:.100}")
        self.job = checked_id(str(given))

    @property
    def _place(self) -> Place:
        return self._login or ThisMachine()

    def describe(self) -> dict[str, Any]:
        own = {"release": True} if self._is_own else {}
        login = {} if self._login is None else self._login.describe()
        return {"job": self.job, **own, **login, **super().describe()}

    def with_silence_limit(self, silence: float) -> SrunTransport:
        if self._login is None:
            return self
        view = copy.copy(self)
        view._login = self._login.with_silence_limit(silence)
        return view

    def hand_over(self) -> None:
        if self._login is not None:
            self._login.hand_over()

    async def __aexit__(self, *error: object) -> None:
        if self._login is not None:
            await self._login.close()

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        free = asyncio.Semaphore(_AT_ONCE)

        async def connect(host: Host) -> Node | Unreachable:
            async with free:
                began = time.monotonic()
                result = await self._connect(host)
                if on_result is not None:
                    on_result(host.name, result, time.monotonic() - began)
                return result

        async with asyncio.TaskGroup() as tasks:
            connecting = [tasks.create_task(connect(host)) for host in hosts]
        return [task.result() for task in connecting]

    async def _connect(self, host: Host) -> Node | Unreachable:
        """Connect; again if the connection to the login host turns out to have been lost before."""
        while True:
            node = await self._place.node(host, self._step(host))
            if isinstance(node, Unreachable):
                return node
            result: Node | Unreachable | None = None
            try:
                result = await self._try(node)
            except ConnectionLost:
                continue
            finally:
                if result is not node:
                    await node.close()
            return result

    def _step(self, host: Host) -> list[str]:
        """Return the program that runs a script, its last argument, on the node."""
        surrounding = self._place.environment
        name = surrounding.get("SLURM_JOB_NAME", "orch")
        options = (f"--jobid={self.job}", f"--nodelist={host.name}", f"--job-name={name}")
        program = ("env", *kept_for_ranks(surrounding), "sh", "-c", _BEGIN, "sh")
        return [*_DETACHED, "srun", *options, *_OPTIONS, *program]

    async def _try(self, node: Node) -> Node | Unreachable:
        """Return `node` if a step runs there, else why not. Raises ConnectionLost."""
        try:
            done = await node.run("exit 0", timeout=self.timeout)
        except ConnectionLost:
            raise
        except NodeError as error:
            return self._unreachable(node, error.text, error.remedy)
        if done.exit_code == 0:
            return node
        if done.exit_code in _NO_PROGRAM and b"srun" in done.stderr:
            missing = self._place.not_installed("srun")
            return self._unreachable(node, missing.text, missing.remedy)
        end = await self._find_loss()
        if end is not None:
            return Unreachable(node.name, GONE, f"taken away: {end.text}", _LASTING)
        said = printable(done.stderr, 300) or f"exit code {done.exit_code}"
        return self._unreachable(node, f"srun starts no step there: {said}", None)

    async def why_taken(self, hang_up: Callable[[], Awaitable[None]]) -> NodesTaken | None:
        """Ask Slurm; while the job is ending, its own sessions keep it from saying how it ended."""
        deadline = time.monotonic() + _END_TIMEOUT
        end = await self._find_loss()
        if end is not None and not end.is_over:
            await hang_up()
        while end is not None and not end.is_over and time.monotonic() < deadline:
            await asyncio.sleep(_END_POLL_INTERVAL)
            end = await self._find_loss()
        return None if end is None else NodesTaken(end.kind, end.text)

    async def release(self) -> None:
        if self._is_own:
            await allocation.release(self._place, self.job)

    async def _find_loss(self) -> JobEnd | None:
        try:
            return await find_loss(self._place, self.job)
        except LaunchError:
            return None  # what is reported then is what is known without Slurm

    def _unreachable(self, node: Node, message: str, remedy: str | None) -> Unreachable:
        remedy = remedy or f"scontrol show job {self.job} shows the job's state and its nodes"
        return Unreachable(node.name, "slurm", message, remedy)


def _login_host(login: str | LoginHost, timeout: float, *, accept_new: bool) -> LoginHost:
    """Return the login host in the option `login`. Raises ValueError."""
    from orchestrator.remote.slurm.login import (
        LoginHost,  # imports an SSH client, of no use otherwise
    )

    if isinstance(login, str):
        return LoginHost(login, timeout, accept_new=accept_new)
    if not isinstance(login, LoginHost):
        raise ValueError(f"login is a host as ssh takes it, not {login!r:.100}")
    return login
