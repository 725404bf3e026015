"""What the variables of an Ansible host mean for orch: a host, or why orch cannot use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from orchestrator.inventory.model import Host, HostSettings
from orchestrator.inventory.readers.ansible.ssh_args import SshArgs
from orchestrator.inventory.readers.ansible.templates import Scope
from orchestrator.inventory.readers.ansible.values import meaning
from orchestrator.util.text import nearest, quoted, word_set

# A setting -> the variables that have it; of several, the last that is set counts, as in Ansible.
_VARIABLES = {
    "address": ("ansible_host", "ansible_ssh_host"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "identity_file": ("ansible_private_key_file", "ansible_ssh_private_key_file"),
}
_SSH_ARGS = (
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)  # as ssh gets them
_SECRETS = (
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_private_key",
    "ansible_ssh_private_key",
    "ansible_private_key_passphrase",
    "ansible_ssh_private_key_passphrase",
)
_UNCHECKED = ("ansible_host_key_checking", "ansible_ssh_host_key_checking")
_OVER_SSH = word_set(
    "ssh smart paramiko paramiko_ssh libssh ansible.builtin.ssh ansible.builtin.paramiko_ssh"
)
_LOCAL = ("local", "ansible.builtin.local")
_OWN = "orch_"
_SLOTS = "slots"
_KEYS = ("internal_address", *HostSettings.model_fields)
_PATHS = ("identity_file", "known_hosts")


class Unusable(Exception):
    """Why orch cannot use a host: the arguments are the reasons, each with its place."""


class Found(NamedTuple):
    """A host, and what its variables say that no inventory of orch's can: see `SshArgs`."""

    host: Host
    accepts_any_key: bool
    gateway_key: str | None


def read_host(name: str, scope: Scope, folder: Path, source: str, position: int) -> Found:
    """Return the host `name`; an IPv6 address gets the name of its `position`.

    Relative paths in orch's own variables start at `folder`. Raises Unusable.
    """
    return _HostReader(name, scope, source).read(folder, position)


class _HostReader:
    def __init__(self, name: str, scope: Scope, source: str) -> None:
        self._name = name
        self._scope = scope
        self._source = source
        self._faults: list[str] = []
        self._raw: dict[str, Any] = {}
        self._from: dict[str, tuple[str, str]] = {}  # setting -> the variable, and its place

    def read(self, folder: Path, position: int) -> Found:
        self._refuse_connection()
        self._refuse_secrets()
        for setting, variables in _VARIABLES.items():
            for variable in variables:
                self._take(setting, variable)
        args = self._read_ssh_args()
        self._take("devices", _SLOTS)
        self._take_own()
        named = f"node{position}" if ":" in self._name else self._name
        host = self._host({"name": named, **self._raw}, folder)
        if host is None or self._faults:
            raise Unusable(*dict.fromkeys(self._faults))
        return Found(host, args.accepts_any_key or self._is_unchecked(), args.gateway_key)

    def _host(self, raw: dict[str, Any], folder: Path) -> Host | None:
        raw.setdefault("address", self._name)
        try:
            return Host.model_validate(raw, context=folder)
        except ValidationError as invalid:
            faults = {str(fault["loc"][0]): fault for fault in invalid.errors()}
            if "name" in faults and raw["address"] == self._name:
                faults.pop("address", None)  # the same text
            for setting, fault in faults.items():
                variable, place = self._from.get(setting, ("", self._source))
                reason = str(fault["ctx"]["error"])
                if setting != "env":  # whose values may be secret
                    reason += f"; found {quoted(str(raw[setting]))}"
                self._fault(variable, place, reason)
        return None

    def _fault(self, variable: str, place: str, reason: str) -> None:
        about = f"{variable}: {reason}" if variable else reason
        self._faults.append(f"{place}: {quoted(self._name)[1:-1]}: {about}")

    def _value(self, variable: str) -> tuple[object, str]:
        """Return the value of a variable and its place; None if it is not set, or orch cannot tell."""
        found = self._scope.find(variable)
        if found is None:
            return None, ""
        try:
            return self._scope.resolve(meaning(found.given)), found.place
        except ValueError as error:
            self._fault(variable, found.place, str(error))
            return None, found.place

    def _take(self, setting: str, variable: str) -> None:
        value, place = self._value(variable)
        if value is not None:
            self._set(setting, value, variable, place)

    def _set(self, setting: str, value: object, variable: str, place: str) -> None:
        """Set a raw value. Paths of Ansible and ssh start at the current folder."""
        raw = _converted(setting, value)
        is_path = setting in _PATHS and isinstance(raw, str) and not variable.startswith(_OWN)
        if is_path and not raw.startswith("~"):
            raw = str(Path(raw).absolute())
        self._raw[setting] = raw
        self._from[setting] = variable, place

    def _take_own(self) -> None:
        for variable in self._scope.names():
            if not variable.startswith(_OWN):
                continue
            setting = variable.removeprefix(_OWN)
            if setting in _KEYS:
                self._take(setting, variable)
                continue
            found = self._scope.find(variable)
            meant = nearest(setting, _KEYS)
            hint = (
                f"did you mean {_OWN}{meant}?" if meant else f"{_OWN} begins the settings of orch"
            )
            self._fault(
                variable, found.place if found else self._source, f"no such setting; {hint}"
            )

    def _refuse_connection(self) -> None:
        value, place = self._value("ansible_connection")
        if value is None or value in _OVER_SSH:
            return
        reason = "orch reaches hosts by SSH only"
        if value in _LOCAL:
            reason = "orch reaches hosts by SSH only, also this machine; --local N runs without SSH hosts"
        self._fault("ansible_connection", place, f"{quoted(str(value))}: {reason}")

    def _refuse_secrets(self) -> None:
        for variable in _SECRETS:
            found = self._scope.find(variable)
            if found is not None and meaning(found.given) not in (None, ""):
                reason = "orch takes no secret from a file: let a key log in (ssh-copy-id), and remove this"
                self._fault(variable, found.place, reason)

    def _read_ssh_args(self) -> SshArgs:
        args = SshArgs()
        for variable in _SSH_ARGS:
            value, place = self._value(variable)
            if value is None:
                continue
            before = set(args.settings)
            try:
                args.add(str(value))
            except ValueError as error:
                self._fault(variable, place, str(error))
            for setting in args.settings.keys() - before:
                if setting not in self._raw:
                    self._set(setting, args.settings[setting], variable, place)
        return args

    def _is_unchecked(self) -> bool:
        return any(
            str(self._value(variable)[0]).lower() in ("false", "no", "0") for variable in _UNCHECKED
        )


def _converted(setting: str, value: object) -> Any:
    """Return a value as the model takes it: most numbers become text."""
    if setting == "env" and isinstance(value, dict):
        return {str(key): _text(each) for key, each in value.items()}
    if setting in ("devices", "spare") or isinstance(value, (dict, list)):
        return value
    return _text(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
