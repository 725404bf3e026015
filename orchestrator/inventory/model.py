"""The inventory as typed, frozen values. A host made in Python is held to the file's own rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from orchestrator.inventory import values
from orchestrator.inventory.environment import Environment


def _local_path(value: object, info: ValidationInfo) -> str:
    return values.local_path(value, info.context)


_LocalPath = Annotated[str, PlainValidator(_local_path)]
_Variables = Annotated[Mapping[str, str], PlainValidator(values.environment), PlainSerializer(dict)]
_Text = Annotated[str, PlainValidator(values.text)]


class _Frozen(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """Said again on each model, `frozen` tells type checkers, too."""


class Settings(_Frozen, frozen=True):
    """What `defaults` can give to every host.

    Validating with a folder as pydantic's context makes local paths relative to that folder.
    """

    port: Annotated[int, PlainValidator(values.port)] | None = None  # None: as ssh_config says
    user: Annotated[str, PlainValidator(values.user)] | None = None
    identity_file: _LocalPath | None = None
    known_hosts: _LocalPath | None = None  # read beside the user's and the system's
    proxy_jump: Annotated[str, PlainValidator(values.proxy_jump)] | None = None
    python: _Text = "python3"
    workdir: _Text | None = None  # on the node; None: ~/orch/<name of the synced folder>
    devices: Annotated[int | Literal["auto"], PlainValidator(values.devices)] = "auto"
    env: _Variables = Environment()
    launcher: Annotated[str, PlainValidator(values.launcher)] | None = None


class HostSettings(Settings, frozen=True):
    """What an entry of the hosts can say beside its name and address.

    A `spare` takes no part in a launch until it takes the place of a host that was lost.
    """

    spare: Annotated[bool, PlainValidator(values.flag)] = False


class Host(HostSettings, frozen=True):
    """One node: what to call it, how to reach it, and what to run there."""

    name: Annotated[str, PlainValidator(values.name)]
    address: Annotated[str, PlainValidator(values.address)] = ""  # the name unless given

    @model_validator(mode="before")
    @classmethod
    def _reached_by_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("address"):
            return {**given, "address": given.get("name")}
        return given


class Main(_Frozen, frozen=True):
    """Where the ranks meet. None: an address on the shared subnet, a free port."""

    address: Annotated[str, PlainValidator(values.address)] | None = None
    port: Annotated[int | None, PlainValidator(values.port_or_auto)] = None


class Group(_Frozen, frozen=True):
    """Some hosts of an inventory under one name, which `--nodes @NAME` selects."""

    name: str
    hosts: tuple[str, ...]  # their names; one that the inventory lacks is left out


class Inventory(_Frozen, frozen=True):
    """The nodes of a cluster; a host's position in `hosts` is its node rank.

    `spares` are the hosts that may take the place of one of them. `source` is the file that it was read
    from, or what else it comes from, as text.
    """

    hosts: tuple[Host, ...]
    spares: tuple[Host, ...] = ()
    main: Main = Main()
    groups: tuple[Group, ...] = ()
    source: Path | str
