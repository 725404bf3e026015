"""All transports: orch's own, and those that installed packages add (`orch.transports`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from orchestrator.errors import LaunchError, UsageError
from orchestrator.remote.base import Transport
from orchestrator.util.plugins import Plugins, load_plugin_classes, plugin_names

GROUP = "orch.transports"
DEFAULT = "ssh"
_OWN = {
    "ssh": "orchestrator.remote.ssh.transport:SshTransport",
    "openssh": "orchestrator.remote.openssh.transport:OpensshTransport",
    "docker": "orchestrator.remote.command.containers:DockerTransport",
    "podman": "orchestrator.remote.command.containers:PodmanTransport",
    "kubectl": "orchestrator.remote.command.containers:KubectlTransport",
    "command": "orchestrator.remote.command.transport:CommandTransport",
    "srun": "orchestrator.remote.slurm.transport:SrunTransport",
    "local": "orchestrator.remote.embedded.transport:EmbeddedTransport",
}


@dataclass(frozen=True)
class SavedTransport:
    """A transport as stored in a run's record: its name, and the options from `Transport.describe`."""

    name: str = DEFAULT
    options: Mapping[str, Any] = field(default_factory=dict)


def names() -> list[str]:
    """Return the values of `--transport`, without importing any transport."""
    every = dict.fromkeys((*_OWN, *plugin_names(GROUP)))
    return [name for name in every if name != "local"]  # selected by --local N


def create(name: str = DEFAULT, **options: Any) -> Transport:
    """Return the transport with this name and these options.

    Raises UsageError if it does not exist or cannot be loaded, or if the options are invalid for it.
    """
    try:
        return _find(name).parse(options)
    except ValueError as error:
        raise UsageError(f"transport {name}: {error}") from error


def saved(transport: Transport) -> SavedTransport:
    """Return the transport as stored in a run's record."""
    return SavedTransport(transport.name, transport.describe())


def restore(said: SavedTransport) -> Transport:
    """Recreate the transport that `saved` described. Raises LaunchError if it is unavailable here."""
    try:
        return create(said.name, **said.options)
    except UsageError as error:
        raise LaunchError(
            f"the nodes of the run cannot be reached: {error.message}", remedy=error.remedy
        ) from error


def _find(name: str) -> type[Transport]:
    """Return the class with this name. Raises UsageError if there is none or it is broken."""
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        own: type[Transport] = getattr(import_module(module), attribute)
        return own
    plugins = _plugins()
    if name in plugins.found:
        return plugins.found[name]
    if (broken := plugins.find_broken(name)) is not None:
        raise UsageError(
            f"transport {broken}", remedy="install that package again, or another version of it"
        )
    raise UsageError(
        f"there is no transport {name!r}",
        remedy=f"there are {', '.join(names())}; a package that adds one is installed beside orch",
    )


@cache
def _plugins() -> Plugins[type[Transport]]:
    return load_plugin_classes(GROUP, Transport, taken=_OWN)  # type: ignore[type-abstract]
