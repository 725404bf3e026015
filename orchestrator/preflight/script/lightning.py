"""What Lightning would refuse: a Fabric or Trainer that is made for other nodes than the plan has.

The rules are Lightning's own (2.0 to 2.6):
- Under `fabric run`, an argument of Fabric() that differs from the command line's, and from its default,
  raises (`fabric/connector.py`, _argument_from_env).
- Where torchrun's variables are set, launch() and fit() raise unless devices x num_nodes is the world size
  (`fabric/plugins/environments/torchelastic.py`, validate_settings), but with one device and one node a
  process trains for itself.
- A plain `python` starts `devices` ranks a node and expects `num_nodes` times as many in all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.plan.plan import count_gpus
from orchestrator.preflight.model import Status
from orchestrator.preflight.phrases import counted
from orchestrator.preflight.scene import Scene
from orchestrator.preflight.script.flow import Certainty, Code
from orchestrator.preflight.script.lint import Hint, argument, literal, severity

_PACKAGES = {"lightning", "pytorch_lightning", "lightning_fabric"}
_POSITIONS = {
    "Fabric": {"accelerator": 0, "strategy": 1, "devices": 2, "precision": 3},
    "Trainer": {},
}
_DEFAULTS = {"accelerator": "auto", "strategy": "auto", "devices": "auto", "num_nodes": "1"}
_OTHER_LAUNCH = ("dp", "ddp_spawn", "ddp_fork", "ddp_notebook")


@dataclass(frozen=True)
class _Maker:
    """A call of Fabric() or Trainer(); None where it cannot be read what is passed."""

    name: str
    call: ast.Call
    how: Certainty

    def given(self, argument_name: str) -> ast.expr | None:
        """Return what is passed as this argument."""
        position = _POSITIONS[self.name].get(argument_name)
        return argument(self.call, argument_name, position)

    @property
    def open(self) -> bool:
        """Whether it takes arguments that cannot be seen here, or brings an environment of its own."""
        unpacked = any(keyword.arg is None for keyword in self.call.keywords)
        starred = any(isinstance(arg, ast.Starred) for arg in self.call.args)
        return unpacked or starred or self.given("plugins") is not None

    @property
    def nodes(self) -> int | None:
        """num_nodes, 1 where it is not passed, None where it is no literal."""
        value = self.given("num_nodes")
        number = 1 if value is None else literal(value)
        return number if isinstance(number, int) else None

    @property
    def devices(self) -> int | None:
        """The number of devices, None where it is no literal, or left to Lightning."""
        value = literal(self.given("devices"))
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        if isinstance(value, list):
            return len(value)
        return value if isinstance(value, int) and value > 0 else None

    @property
    def automatic(self) -> bool:
        """Whether the devices are left to Lightning, which takes all GPUs, or one CPU."""
        value = self.given("devices")
        return value is None or literal(value) in ("auto", -1, "-1")

    def written(self) -> str:
        """Return it as `Fabric(devices=2, num_nodes=4)`, with what matters here."""
        shown = ("devices", "num_nodes")
        values = {name: self.given(name) for name in shown}
        words = [f"{name}={ast.unparse(value)}" for name, value in values.items() if value]
        return f"{self.name}({', '.join(words)})"


def hints(code: Code, scene: Scene) -> Iterator[Hint]:
    """Yield each call that does not fit the plan."""
    for maker in _makers(code):
        if maker.open or maker.how is Certainty.MAYBE:
            continue
        if scene.plan.launcher == "fabric" and maker.name == "Fabric":
            yield from _against_command_line(maker, scene)
        elif literal(maker.given("strategy")) not in _OTHER_LAUNCH:
            yield from _against_shape(maker, scene)


def _makers(code: Code) -> Iterator[_Maker]:
    for call, name, how in code.calls():
        kind = name.rpartition(".")[2]
        if name.partition(".")[0] in _PACKAGES and kind in _POSITIONS:
            yield _Maker(kind, call, how)


def _against_command_line(maker: _Maker, scene: Scene) -> Iterator[Hint]:
    """Find arguments that `fabric run` was given otherwise."""
    clashes: dict[tuple[str, str, str], list[str]] = {}
    for subject in scene.subjects:
        for name, default in _DEFAULTS.items():
            value = literal(maker.given(name))
            told = _told(subject.plan.processes[0].argv, name)
            if value is not None and told is not None and str(value) not in (told, default):
                clashes.setdefault((name, repr(value), told), []).append(subject.name)
    for (name, value, told), nodes in clashes.items():
        yield Hint(
            severity(maker.how),
            maker.call.lineno,
            f"{maker.name}({name}={value}) conflicts with --{name.replace('_', '-')}={told}, "
            "which `fabric run` is given: Lightning stops there",
            f"leave {name} out of {maker.name}(): it takes the launch's own, or use --launcher torchrun",
            tuple(nodes),
        )


def _told(argv: tuple[str, ...], name: str) -> str | None:
    """Return the value of an option of `fabric run`."""
    option = f"--{name.replace('_', '-')}="
    own = argv[: argv.index("--")] if "--" in argv else argv
    given = [word.removeprefix(option) for word in own if word.startswith(option)]
    return given[-1] if given else None


def _against_shape(maker: _Maker, scene: Scene) -> Iterator[Hint]:
    """Find a number of nodes and devices that is not the plan's."""
    plan = scene.plan
    counts = [node.devices for node in plan.nodes]
    here = f"this launch has {counted(len(counts), 'node')} with {_ranks(counts)}"
    remedy = (
        f"pass num_nodes={len(counts)} and devices={counts[0]}, or take them from the environment "
        "(WORLD_SIZE, LOCAL_WORLD_SIZE)"
    )

    def hint(status: Status, what: str) -> Hint:
        return Hint(status, maker.call.lineno, f"{maker.written()}: {here}: {what}", remedy)

    devices = _devices(maker, scene)
    fits = devices is not None and devices * (maker.nodes or 0) == plan.world_size
    alone = devices == 1 and maker.given("strategy") is None
    if plan.launcher != "python" and maker.devices is None and len(set(counts)) > 1:
        yield hint(Status.WARN, "Lightning wants as many ranks on every node")
    elif maker.nodes is None or fits:
        return
    elif maker.nodes == 1 and alone:
        yield hint(Status.WARN, "each rank trains for itself")
    elif plan.launcher == "python":
        if maker.nodes != len(counts):
            yield hint(severity(maker.how), "the ranks wait for others than there are")
        elif maker.devices is not None:
            yield hint(Status.WARN, f"the script starts {maker.devices} on each node itself")
    elif devices is not None or maker.nodes != len(counts):
        # Lightning may count accelerators that orch does not know of.
        known = maker.devices is not None or (maker.automatic and maker.nodes != len(counts))
        written = maker.devices is not None or maker.given("num_nodes") is not None
        certain = known and written and len(set(counts)) == 1
        status = severity(maker.how) if certain else Status.WARN
        yield hint(status, "Lightning stops where devices x num_nodes is not the world size")


def _devices(maker: _Maker, scene: Scene) -> int | None:
    """Return the devices of each node, as they are passed, or as Lightning will count them."""
    if maker.devices is not None or not maker.automatic:
        return maker.devices
    if literal(maker.given("accelerator")) == "cpu":
        return 1
    gpus = {count_gpus(s.host, s.facts, scene.job) for s in scene.subjects}
    return max(1, gpus.pop()) if len(gpus) == 1 else None


def _ranks(counts: list[int]) -> str:
    if len(set(counts)) == 1:
        return f"{counted(counts[0], 'rank')} each"
    return f"{min(counts)} to {max(counts)} ranks each"
