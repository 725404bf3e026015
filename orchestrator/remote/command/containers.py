"""Containers as nodes: `docker exec`, `podman exec`, `kubectl exec`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.remote.base import CONTAINER
from orchestrator.remote.command.transport import ProgramTransport
from orchestrator.remote.command.verdicts import NO_SHELL, Reason

if TYPE_CHECKING:
    from orchestrator.inventory import Host


class DockerTransport(ProgramTransport):
    """A host is a container of Docker, which has its address as a name.

    Commands run as the host's `user`, else as the `user` given here, else as the image has it.
    """

    name = "docker"
    used = frozenset({"user"})
    reasons: ClassVar = (
        Reason("no such container", CONTAINER, "list the containers with: {program} ps -a"),
        Reason("is not running|state improper", CONTAINER, "start it with: {program} start {name}"),
        Reason("is paused", "program", "{program} unpause {name}"),
        Reason(
            "cannot connect to the docker daemon|cannot connect to podman",
            "program",
            "start its service, or set the variable that names another one (DOCKER_HOST, CONTAINER_HOST)",
        ),
        Reason(
            "permission denied while trying to connect",
            "program",
            "run orch as a user who may use {program} (of the group docker)",
        ),
        Reason(
            "unable to find user|no matching entries in passwd|no users found",
            "program",
            "set `user:` in the inventory to one that the image has",
        ),
        NO_SHELL,
    )

    def __init__(self, timeout: float = 10.0, user: str | int | None = None) -> None:
        super().__init__(timeout)
        self._user = _text("user", user)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "user": self._user}

    def argv(self, host: Host, line: str, *, terminal: bool = False) -> list[str]:
        user = host.user or self._user
        as_user = [] if user is None else ["--user", user]
        tty = ["--tty"] if terminal else []
        program = [self.name, "exec", "--interactive", *tty, *as_user, host.address]
        return [*program, "sh", "-c", line]


class PodmanTransport(DockerTransport):
    """A host is a container of Podman, which has its address as a name."""

    name = "podman"


class KubectlTransport(ProgramTransport):
    """A host is a pod of Kubernetes, which has its address as a name.

    The options are those of kubectl with the same names; None: what its configuration says.
    """

    name = "kubectl"
    reasons: ClassVar = (
        Reason("namespaces? .* not found", "program", "list them with: kubectl get namespaces"),
        Reason(
            r"pods? .* not found",
            CONTAINER,
            "list the pods with: kubectl get pods --all-namespaces",
        ),
        Reason(
            "container .*not found|container not found|is not valid for pod",
            "program",
            "see the state and the containers of the pod with: kubectl describe pod {name}",
        ),
        Reason(
            "completed pod|does not have a host assigned",
            CONTAINER,
            "see why it does not run with: kubectl describe pod {name}",
        ),
        Reason("forbidden", "authentication", "ask for the right to create pods/exec there"),
        Reason(
            "unauthorized|must be logged in|getting credentials",
            "authentication",
            "log in to the cluster again; check with: kubectl auth whoami",
        ),
        Reason(
            "context .*(does not exist|not found)|no context exists",
            "program",
            "list the contexts with: kubectl config get-contexts",
        ),
        Reason(
            "connection to the server|unable to connect to the server",
            "no-route",
            "check the cluster and its address with: kubectl cluster-info",
        ),
        NO_SHELL,
    )

    def __init__(
        self,
        timeout: float = 10.0,
        namespace: str | int | None = None,
        context: str | int | None = None,
        container: str | int | None = None,
    ) -> None:
        super().__init__(timeout)
        self._options = {
            "namespace": _text("namespace", namespace),
            "context": _text("context", context),
            "container": _text("container", container),
        }

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self._options}

    def argv(self, host: Host, line: str, *, terminal: bool = False) -> list[str]:
        tty = ["--tty"] if terminal else []
        options = [
            f"--{name}={value}" for name, value in self._options.items() if value is not None
        ]
        program = ["kubectl", "exec", "--stdin", *tty, "--quiet", *options, host.address]
        return [*program, "--", "sh", "-c", line]


def _text(name: str, value: object) -> str | None:
    """Return the value of an option as text. Raises ValueError if it is none, or looks like an option."""
    if value is None:
        return None
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not text.isprintable() or text[:1] in ("", "-", " "):
        raise ValueError(f"{name} is one line of text, no '-' first, not {value!r:.100}")
    return text
