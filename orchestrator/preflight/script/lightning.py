"""What Lightning would refuse: a Fabric or Trainer that is made for other nodes than the plan has.

The rules are Lightning's own (2.0 to 2.6):
- Under `fabric run`, an argument of Fabric() that differs from the command line's, and from its default,
  raises (`fabric/connector.py`, _argument_from_env).
- Where torchrun's variables are set, launch() and fit() raise unless devices x num_nodes is the world size
  (`fabric/plugins/environments/torchelastic.py`, validate_settings), but with one device, one node and no
  strategy a process trains for itself, whatever the world size is (`fabric/connector.py`,
  _choose_strategy).
- An accelerator that is named must be there (_set_parallel_devices_and_init_accelerator).
- A plain `python` starts `devices` ranks a node and expects `num_nodes` times as many in all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.plan.plan import count_gpus
from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.script.flow import Certainty, Code
from orchestrator.preflight.script.gpus import remedy, usable_gpus, without_gpu
from orchestrator.preflight.script.lint import Hint, argument, literal, severity
from orchestrator.util.text import counted

_PACKAGES = {"lightning", "pytorch_lightning", "lightning_fabric"}
_POSITIONS = {
    "Fabric": {"accelerator": 0, "strategy": 1, "devices": 2, "precision": 3},
    "Trainer": {},
}
_DEFAULTS = {"accelerator": "auto", "strategy": "auto", "devices": "auto", "num_nodes": "1"}
_OTHER_LAUNCH = ("dp", "ddp_spawn", "ddp_fork", "ddp_notebook")
_GPUS = ("cuda", "gpu")


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


def hints(code: Code, context: Context) -> Iterator[Hint]:
    """Yield each call that does not fit the plan."""
    makers = [each for each in _makers(code) if not each.open and each.how is not Certainty.MAYBE]
    # A script that trains on all ranks may well test with one device afterwards.
    trains_alone = bool(makers) and all(_is_alone(maker, context) for maker in makers)
    for maker in makers:
        yield from _without_accelerator(maker, context)
        if context.launcher.configures_fabric and maker.name == "Fabric":
            yield from _against_command_line(maker, context)
        elif _is_alone(maker, context):
            yield _alone(maker, context, Status.FAIL if trains_alone else Status.WARN)
        elif literal(maker.given("strategy")) not in _OTHER_LAUNCH:
            yield from _against_shape(maker, context)


def _without_accelerator(maker: _Maker, context: Context) -> Iterator[Hint]:
    """Find an accelerator that is named, and is not on some nodes, or not as often as is asked for."""
    named = literal(maker.given("accelerator"))
    what = f"{maker.name}(accelerator={named!r})"
    if named == "mps":
        text = f"{what} is for a Mac, and nodes are Linux"
        yield Hint(severity(maker.how), maker.call.lineno, text, 'pass accelerator="auto"')
    if named not in _GPUS:
        return
    for why, nodes in without_gpu(context).items():
        text = f"{what} needs a GPU, and {why}"
        otherwise = 'pass accelerator="auto", or choose nodes with GPUs with --nodes'
        yield Hint(severity(maker.how), maker.call.lineno, text, remedy(why, otherwise), nodes)
    counts = {node.name: usable_gpus(node) for node in context.nodes}
    few = tuple(name for name, count in counts.items() if 0 < count < (maker.devices or 0))
    if few:
        most = max(counts[name] for name in few)
        text = f"{maker.written()} needs {maker.devices} GPUs on each node, and there are {most}"
        yield Hint(severity(maker.how), maker.call.lineno, text, f"pass devices={most}", few)


def _is_alone(maker: _Maker, context: Context) -> bool:
    """Tell whether each rank would train for itself, though there are several."""
    if context.launcher.configures_fabric and maker.name == "Fabric":
        return False
    named = literal(maker.given("strategy")) if maker.given("strategy") else "auto"
    one = maker.nodes == 1 and _devices(maker, context) == 1
    return one and named == "auto" and _processes(context) > 1


def _processes(context: Context) -> int:
    """Return how many times the launch starts the script."""
    plan = context.plan
    return len(plan.nodes) if plan.once_per_node else plan.world_size


def _alone(maker: _Maker, context: Context, status: Status) -> Hint:
    counts = [node.devices for node in context.plan.nodes]
    arguments = f"num_nodes={len(counts)}, devices={counts[0]}"
    if len(set(counts)) > 1:
        advice = "use as many ranks on every node (--nproc), and pass num_nodes and devices"
    elif _fits_fabric_run(maker, context):
        advice = "use --launcher fabric, which tells Fabric() of all ranks"
    elif maker.name == "Fabric" and context.script and ".launch(" not in context.script.text:
        advice = (
            f"write {maker.name}({arguments}) and call its launch(); --launcher torchrun fits then"
        )
    else:
        advice = f"write {maker.name}({arguments}); --launcher torchrun fits then"
    return Hint(
        status,
        maker.call.lineno,
        f"{maker.written()} knows of one rank only: each of the {_processes(context)} ranks would train "
        "for itself, alone",
        f"{advice}; where that is meant, --preflight off starts it as it is",
    )


def _fits_fabric_run(maker: _Maker, context: Context) -> bool:
    """Tell whether the script would run under `fabric run`, as it is."""
    if maker.name != "Fabric" or context.job.module or context.job.elastic is not None:
        return False
    if context.script is None or ".launch(" in context.script.text:
        return False
    told = {
        node.name: {
            "accelerator": "cuda" if count_gpus(node.host, node.facts, context.job) else "cpu",
            "devices": str(node.plan.devices),
            "num_nodes": str(len(context.plan.nodes)),
        }
        for node in context.nodes
    }
    return not any(_clash(maker, name, each) for each in told.values() for name in _DEFAULTS)


def _makers(code: Code) -> Iterator[_Maker]:
    for call, name, how in code.calls():
        kind = name.rpartition(".")[2]
        if name.partition(".")[0] in _PACKAGES and kind in _POSITIONS:
            yield _Maker(kind, call, how)


def _against_command_line(maker: _Maker, context: Context) -> Iterator[Hint]:
    """Find arguments that `fabric run` was given otherwise."""
    missing = {name for nodes in without_gpu(context).values() for name in nodes}
    clashes: dict[tuple[str, str, str], list[str]] = {}
    for node in context.nodes:
        told = _told(node.plan.processes[0].argv)
        for name in _DEFAULTS:
            value = _clash(maker, name, told)
            if value in _GPUS and node.name in missing:
                continue  # that is told already
            if value is not None:
                clashes.setdefault((name, repr(value), told[name]), []).append(node.name)
    for (name, value, given), nodes in clashes.items():
        yield Hint(
            severity(maker.how),
            maker.call.lineno,
            f"{maker.name}({name}={value}) conflicts with --{name.replace('_', '-')}={given}, "
            "which `fabric run` is given: Lightning stops there",
            f"leave {name} out of {maker.name}(): it takes the launch's own, or use --launcher torchrun",
            tuple(nodes),
        )


def _clash(maker: _Maker, name: str, told: Mapping[str, str]) -> object | None:
    """Return what is passed as argument `name`, where the command line has told something else."""
    value = literal(maker.given(name))
    is_told = name in told and value is not None
    return value if is_told and str(value) not in (told[name], _DEFAULTS[name]) else None


def _told(argv: tuple[str, ...]) -> dict[str, str]:
    """Return the values of the options of `fabric run` that are arguments of Fabric(), too."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    words = (word.removeprefix("--").partition("=") for word in own if word.startswith("--"))
    options = {name.replace("-", "_"): value for name, sign, value in words if sign}
    return {name: options[name] for name in _DEFAULTS if name in options}


def _against_shape(maker: _Maker, context: Context) -> Iterator[Hint]:
    """Find a number of nodes and devices that is not the plan's."""
    plan = context.plan
    counts = [node.devices for node in plan.nodes]
    here = f"this launch has {counted(len(counts), 'node')} with {_ranks(counts)}"
    remedy = (
        f"pass num_nodes={len(counts)} and devices={counts[0]}, or take them from the environment "
        "(WORLD_SIZE, LOCAL_WORLD_SIZE)"
    )

    def hint(status: Status, what: str) -> Hint:
        return Hint(status, maker.call.lineno, f"{maker.written()}: {here}: {what}", remedy)

    devices = _devices(maker, context)
    fits = devices is not None and devices * (maker.nodes or 0) == plan.world_size
    if not plan.once_per_node and maker.devices is None and len(set(counts)) > 1:
        yield hint(Status.WARN, "Lightning wants as many ranks on every node")
    elif maker.nodes is None or fits:
        return
    elif plan.once_per_node:
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


def _devices(maker: _Maker, context: Context) -> int | None:
    """Return the devices of each node, as they are passed, or as Lightning will count them."""
    if maker.devices is not None or not maker.automatic:
        return maker.devices
    if literal(maker.given("accelerator")) == "cpu":
        return 1
    gpus = {usable_gpus(node) for node in context.nodes}
    return max(1, gpus.pop()) if len(gpus) == 1 else None


def _ranks(counts: list[int]) -> str:
    if len(set(counts)) == 1:
        return f"{counted(counts[0], 'rank')} each"
    return f"{min(counts)} to {max(counts)} ranks each"
