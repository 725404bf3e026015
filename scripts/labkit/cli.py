"""The command line of the lab: parse, call one function of `labkit.life`, print the result."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit import life, processes, slurm
from labkit.lab import LabError

DESCRIPTION = """\
A test cluster: N hosts with real OpenSSH, each in its own namespaces, and a controller (`ctl`)
whose network is isolated from this machine's. Needs root.

Hosts can have the problems of real ones: `scripts/lab up --help` lists these traps.
"""

TRAPS = {
    "own_name_loopback": "a node's own name is 127.0.1.1, as on Debian, and no other name resolves",
    "second_net": "a second interface eth1 in 198.19.0.0/24, without the controller",
    "decoy": "an interface docker0 with 172.17.0.1/16, the same on every node",
    "noisy_bashrc": "non-interactive shells print a greeting on stdout and stderr",
    "no_rsync": "rsync is not installed",
    "shared_home": "all nodes have the same home directory",
}

EXAMPLES = """\
examples:
  scripts/lab up 3 --own-name-loopback --decoy
  scripts/lab up 2 --name quirks --trap node1:noisy-bashrc --nft node0=drop.nft
  scripts/lab exec ctl -- ssh -F /tmp/orch-lab-lab/ssh_config node1 hostname
  scripts/lab exec ctl -- orch launch -i /tmp/orch-lab-lab/hosts.yaml train.py
  scripts/lab exec node1 -- kill -HUP 1     # restart its sshd
  scripts/lab down
  scripts/lab slurm up 4                    # the same, with Slurm on it
  scripts/lab exec --name slurm ctl -- env SLURM_CONF=/run/slurm/slurm.conf srun --nodes=4 hostname
  scripts/lab slurm down
"""


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code: 2 if the lab refuses."""
    options = _parser().parse_args(argv)
    try:
        if reason := life.missing():
            raise LabError(reason)
        code: int = options.call(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="scripts/lab", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=layout
    )
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="lab", help="name of the lab (default: lab)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", parents=[named], help="start a lab")
    up.set_defaults(call=_up)
    up.add_argument("n", type=int, metavar="N", help="number of hosts: node0, node1, ...")
    up.add_argument("--dir", type=Path, help="its directory (default: /tmp/orch-lab-NAME)")
    up.add_argument("--python", help="the Python in the inventory (default: this one)")
    traps = up.add_argument_group("traps, on every node")
    for flag, text in TRAPS.items():
        traps.add_argument(f"--{flag.replace('_', '-')}", action="store_true", help=text)
    traps.add_argument(
        "--nft",
        action="append",
        default=[],
        metavar="[NODE=]FILE",
        help="load this nftables ruleset in every node, or in one; may be repeated",
    )
    traps.add_argument(
        "--trap",
        action="append",
        default=[],
        metavar="NODE:TRAP",
        help="set a trap on one node only, such as node1:no-rsync; may be repeated",
    )

    down = commands.add_parser("down", parents=[named], help="stop a lab and remove its files")
    down.set_defaults(call=_down)
    down.add_argument("--dir", type=Path, help="its directory, if not the default")

    run = commands.add_parser("exec", parents=[named], help="run a command inside a lab")
    run.set_defaults(call=_exec)
    run.add_argument("node", help="node0, node1, ..., or ctl")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD...")

    _add_slurm(commands)

    status = commands.add_parser("status", help="list the running labs")
    status.set_defaults(call=_status)
    return parser


def _add_slurm(commands: Any) -> None:
    """Add `slurm up` and `slurm down`: a lab with Slurm."""
    parser = commands.add_parser("slurm", help="start or stop a lab with Slurm")
    verbs = parser.add_subparsers(required=True, metavar="up|down")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="slurm", help="name of the lab (default: slurm)")
    up = verbs.add_parser("up", parents=[named], help="start a lab with Slurm")
    up.set_defaults(call=_slurm_up)
    up.add_argument("n", type=int, nargs="?", default=4, metavar="N", help="hosts (default: 4)")
    down = verbs.add_parser("down", parents=[named], help="stop it and remove its files")
    down.set_defaults(call=_down, dir=None)


def _slurm_up(options: argparse.Namespace) -> int:
    if reason := slurm.missing():
        raise LabError(reason)
    lab = life.up(options.n, options.name)
    try:
        slurm.start(lab)
    except BaseException:
        life.down(lab.name)
        raise
    print(f"lab {lab.name} is up with Slurm: {', '.join(lab.nodes)}")
    print(f"environment of its commands: SLURM_CONF={slurm.CONFIG}")
    return 0


def _up(options: argparse.Namespace) -> int:
    lab = life.up(
        options.n, options.name, dir=options.dir, python=options.python, **_traps(options)
    )
    print(f"lab {lab.name} is up: {', '.join(lab.nodes)}")
    print(f"inventory: {lab.inventory}")
    return 0


def _traps(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `life.up` for the traps."""
    traps: dict[str, Any] = {flag: getattr(options, flag) for flag in TRAPS}
    for text in options.trap:
        node, _, trap = text.partition(":")
        flag = trap.replace("-", "_")
        if flag not in TRAPS:
            known = ", ".join(flag.replace("_", "-") for flag in TRAPS)
            raise LabError(f"--trap {text}: not NODE:TRAP with a trap of {known}")
        if traps[flag] is not True:
            traps[flag] = {node, *(traps[flag] or ())}
    rulesets = {}
    for text in options.nft:
        node, _, file = text.rpartition("=")
        try:
            rulesets[node] = Path(file).read_text()
        except OSError as error:
            raise LabError(f"--nft {text}: {error}") from error
    everywhere = rulesets.pop("", "")
    nodes = [f"node{index}" for index in range(options.n)]
    return {**traps, "nft": {**dict.fromkeys(nodes, everywhere), **rulesets}}


def _down(options: argparse.Namespace) -> int:
    if not life.down(options.name, dir=options.dir):
        print(f"lab: no lab {options.name} is up", file=sys.stderr)
    return 0


def _exec(options: argparse.Namespace) -> int:
    """Behave like the command to the caller: pass on signals, and exit with its code."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise LabError("exec: no command: scripts/lab exec node0 -- hostname")
    early: list[int] = []
    pass_on = early.append
    # What arrives before the command has started must reach it, too: the command may already print.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: pass_on(received))
    process = life.find(options.name).popen(command, node=options.node)
    pass_on = process.send_signal
    for received in early:
        process.send_signal(received)
    # The command gets Ctrl-C from the terminal itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = process.wait()
    return 128 - code if code < 0 else code


def _status(options: argparse.Namespace) -> int:
    names = sorted({init.lab for init in processes.inits()})
    for lab in (life.find(name) for name in names):
        print(f"{lab.name}  {lab.dir}")
        for node in ("ctl", *lab.nodes):
            print(f"  {node:8}{lab.address(node):14}{lab.state(node)}")
    return 0
