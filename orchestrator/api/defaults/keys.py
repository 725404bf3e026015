"""The keys of a file of defaults: long options of `orch launch`, without the dashes."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.api.defaults import kinds
from orchestrator.api.defaults.kinds import Kind
from orchestrator.api.values import LEAST_SECONDS

PROFILES = "profiles"
KEYS: dict[str, Kind] = {
    "inventory": kinds.INVENTORY,
    "hosts": kinds.text("hosts and their ranks, such as node0:8,node1:4"),
    "local": kinds.number(1, 64),
    "slurm": kinds.SLURM,
    "slurm-login": kinds.text("a login host"),
    "nodes": kinds.text("a selection of hosts, such as gpu[0-3]"),
    "exclude": kinds.text("a selection of hosts, such as gpu[0-3]"),
    "python": kinds.text("a Python on the nodes, such as ~/venv/bin/python"),
    "transport": kinds.text("the name of a transport"),
    "connect-timeout": kinds.time(0.1),
    "nproc": kinds.NPROC,
    "include": kinds.text("hosts and GPUs in DeepSpeed's words, such as node0:0,2@node1"),
    "launcher": kinds.text("the name of a launcher"),
    "launcher-arg": kinds.words("a list of arguments of the launcher"),
    "env": kinds.VARIABLES,
    "env-file": kinds.path_inside("the path of a file of variables, from this file's folder"),
    "sync": kinds.path_inside("the path of a folder, from this file's"),
    "no-sync": kinds.FLAG,
    "sync-limit": kinds.SIZE,
    "workdir": kinds.text("a folder on the nodes"),
    "fetch": kinds.words("a list of patterns, such as checkpoints/"),
    "preflight": kinds.choice("quick", "full", "off"),
    "name": kinds.text("the start of the names of runs"),
    "wait": kinds.FLAG,
    "main-address": kinds.text("an address"),
    "main-port": kinds.number_or_auto(65535),
    "on-failure": kinds.choice("stop", "continue"),
    "restarts": kinds.number(0, 1000),
    "elastic": kinds.NODE_RANGE,
    "on-stall": kinds.choice("show", "stop"),
    **{name.replace("_", "-"): kinds.time(least) for name, least in LEAST_SECONDS.items()},
}
IN_PROFILES = {
    "local": "the script would run on this machine",
    "slurm": "each launch would ask for nodes",
    "slurm-login": "it belongs to slurm",
}
"""Keys that stand in profiles only, so that they are chosen by name; and why."""
REFUSED = {
    "accept-new": "whether to trust a host key is decided by the user who connects",
    "overwrite": "it replaces files on nodes that orch did not place",
    "log-limit": "how much a run may store on this machine is decided by its user",
    "detach": "a launch would return before the run has ended",
    "module": "it belongs to one script",
    "no-python": "it belongs to one script",
    "dry-run": "a launch would start nothing",
    "rank": "it hides output",
    "timestamps": "it changes the output, which programs may read",
    "output": "programs that read the output expect one format",
    "verbose": "it belongs to one command",
    "log-file": "it writes a file on this machine",
    "profile": "a profile is chosen with --profile or ORCH_PROFILE",
}
"""Options of `orch launch` that are no keys, and why."""

_NOTHING = frozenset[str]()
_HOSTS = frozenset({"inventory", "hosts", "local", "slurm"})
_OF_HOSTS = frozenset({"nodes", "exclude", "include", "transport"})
ALTERNATIVES = (
    (_HOSTS, _OF_HOSTS),
    *((frozenset({"include", other}), _NOTHING) for other in ("nodes", "exclude", "nproc")),
    *((frozenset({"slurm-login", other}), _NOTHING) for other in ("inventory", "hosts", "local")),
    (frozenset({"sync", "no-sync"}), _NOTHING),
)
"""Keys that exclude each other, and those whose values belong to them.

If one of the first is given in place of a file, the file's values of all of them do not count.
"""


def overridden(given: Collection[str]) -> frozenset[str]:
    """Return the keys whose values in a file do not count if these are given elsewhere."""
    found = set(given)
    for keys, companions in ALTERNATIVES:
        if not keys.isdisjoint(given):
            found |= keys | companions
    return frozenset(found)
