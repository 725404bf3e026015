"""The inventory as typed, frozen values. Hosts created in Python get the same checks as those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, PlainSerializer, PlainValidator, model_validator

from orchestrator.inventory import values
from orchestrator.inventory.devices import Devices, as_json, parse_devices
from orchestrator.inventory.values import Environment

_LocalPath = Annotated[str, PlainValidator(values.local_path)]
_Variables = Annotated[Mapping[str, str], PlainValidator(values.environment), PlainSerializer(dict)]
_Devices = Annotated[Devices, PlainValidator(parse_devices), PlainSerializer(as_json)]
_Text = Annotated[str, PlainValidator(values.text)]


class _Frozen(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """Base of the models; each repeats `frozen=True`, which type checkers do not inherit."""


class Settings(_Frozen, frozen=True):
    """What `defaults` can set for every host.

    With a folder as pydantic's validation context, local paths are relative to that folder.
    """

    port: Annotated[int, PlainValidator(values.port)] | None = None  # None: as in ssh_config
    user: Annotated[str, PlainValidator(values.user)] | None = None
    identity_file: _LocalPath | None = None
    known_hosts: _LocalPath | None = None  # in addition to the user's and the system's
    proxy_jump: Annotated[str, PlainValidator(values.proxy_jump)] | None = None
    python: _Text = "python3"
    workdir: _Text | None = None  # on the node; None: ~/orch/<name of the synced folder>
    state: _Text | None = None  # on the node: orch's own folder; None: ~/.local/state/orch
    devices: _Devices = "auto"
    env: _Variables = Environment()
    launcher: Annotated[str, PlainValidator(values.launcher)] | None = None


class HostSettings(Settings, frozen=True):
    """What an entry of `hosts` can set besides name and address.

    A `spare` is used only to replace a lost host.
    """

    spare: Annotated[bool, PlainValidator(values.flag)] = False


class Host(HostSettings, frozen=True):
    """One host: its name, how to reach it, and what to run there.

    `internal_address` is its own in the network of the ranks, if that is not to be chosen by orch.
    """

    name: Annotated[str, PlainValidator(values.name)]
    address: Annotated[str, PlainValidator(values.address)] = ""  # default: the name
    internal_address: Annotated[str, PlainValidator(values.ip)] | None = None

    @property
    def state_folder(self) -> str:
        """orch's own folder on the node; it starts with `~/` or `/`."""
        state = (self.state or "~/.local/state/orch").rstrip("/")
        return state if state.startswith(("~/", "/")) else f"~/{state}"

    @model_validator(mode="before")
    @classmethod
    def _default_address(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("address"):
            return {**given, "address": given.get("name")}
        return given


class Main(_Frozen, frozen=True):
    """Address and port of the rendezvous; None: on the shared subnet, a free port."""

    address: Annotated[str, PlainValidator(values.address)] | None = None
    port: Annotated[int | None, PlainValidator(values.port_or_auto)] = None


class Group(_Frozen, frozen=True):
    """Named hosts of an inventory, which `--nodes @NAME` selects."""

    name: str
    hosts: tuple[str, ...]  # names; those that the inventory lacks are ignored


class Refused(_Frozen, frozen=True):
    """A host of the inventory that orch cannot use: an error only if it is selected."""

    name: str
    reason: str
    """One line or more, each with its place: `hosts.ini:3: node0: ansible_password: ...`."""


class TransportChoice(_Frozen, frozen=True):
    """How to reach the hosts: the name of a transport and its options, JSON values.

    `place` is where a file asks for it, as `hosts.yaml:3:12`.
    """

    name: str
    options: Mapping[str, Any] = {}
    place: str = ""


class Inventory(_Frozen, frozen=True):
    """The hosts of a cluster; the position in `hosts` is the node rank.

    `spares` may replace one of them; `select` fails if one of the `refused` is selected. `source` is the
    file that the inventory was read from, or the name of another source.
    """

    hosts: tuple[Host, ...]
    spares: tuple[Host, ...] = ()
    refused: tuple[Refused, ...] = ()
    main: Main = Main()
    groups: tuple[Group, ...] = ()
    transport: TransportChoice | None = None  # None: the default one
    source: Path | str
