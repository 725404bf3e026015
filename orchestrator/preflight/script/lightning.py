"""Find a Fabric or Trainer that Lightning would refuse: it is made for other nodes than the plan has.

The rules are Lightning's (2.0 to 2.6):
- Under `fabric run`, an argument of Fabric() that differs from the command line, and from its default,
  raises (`fabric/connector.py`, _argument_from_env).
- With torchrun's variables, launch() and fit() raise unless devices x num_nodes is the world size
  (`fabric/plugins/environments/torchelastic.py`, validate_settings). But with one device, one node and no
  strategy each process trains by itself, for any world size (`fabric/connector.py`, _choose_strategy).
- An accelerator that is named must exist (_set_parallel_devices_and_init_accelerator).
- A plain `python` starts `devices` ranks on each node, and expects `num_nodes` times as many in all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.script.flow import Certainty, Code
from orchestrator.preflight.script.gpus import remedy, usable_gpus, without_gpu
from orchestrator.preflight.script.lint import Hint, argument, literal, severity
from orchestrator.util.groups import grouped
from orchestrator.util.text import counted

_PACKAGES = {"lightning", "pytorch_lightning", "lightning_fabric"}
_POSITIONS = {
    "Fabric": {"accelerator": 0, "strategy": 1, "devices": 2, "precision": 3},
    "Trainer": {},
}
_DEFAULTS = {"accelerator": "auto", "strategy": "auto", "devices": "auto", "num_nodes": "1"}
_OTHER_STRATEGIES = (
    "dp",
    "ddp_spawn",
    "ddp_fork",
    "ddp_notebook",
)  # these start processes themselves
_GPUS = ("cuda", "gpu")


def hints(code: Code, context: Context) -> Iterator[Hint]:
    """Yield a hint for each call that does not fit the plan."""
    calls = [
        call for call in _calls(code, context) if not call.opaque and call.how > Certainty.MAYBE
    ]
    # A script that trains on all ranks may well test with one device afterwards.
    alone = Status.FAIL if all(call.alone for call in calls) else Status.WARN
    for call in calls:
        yield from call.without_accelerator()
        if call.from_command_line:
            yield from call.against_command_line()
        elif call.alone:
            yield call.trains_alone(alone)
        elif literal(call.given("strategy")) not in _OTHER_STRATEGIES:
            yield from call.against_shape()


def _calls(code: Code, context: Context) -> Iterator[_Call]:
    for call, name, how in code.calls():
        kind = name.rpartition(".")[2]
        if name.partition(".")[0] in _PACKAGES and kind in _POSITIONS:
            yield _Call(kind, call, how, context)


@dataclass(frozen=True)
class _Call:
    """A call of Fabric() or Trainer() in a launch; a property is None if it cannot be read there."""

    name: str
    call: ast.Call
    how: Certainty
    context: Context

    def given(self, argument_name: str) -> ast.expr | None:
        """Return what is passed as this argument."""
        position = _POSITIONS[self.name].get(argument_name)
        return argument(self.call, argument_name, position)

    @property
    def opaque(self) -> bool:
        """Whether it takes arguments that cannot be read here, or an environment of its own."""
        unpacked = any(keyword.arg is None for keyword in self.call.keywords)
        starred = any(isinstance(arg, ast.Starred) for arg in self.call.args)
        return unpacked or starred or self.given("plugins") is not None

    @property
    def nodes(self) -> int | None:
        """num_nodes; 1 if it is not passed, None if it is not a literal."""
        value = self.given("num_nodes")
        number = 1 if value is None else literal(value)
        return number if isinstance(number, int) else None

    @property
    def devices_passed(self) -> int | None:
        """The number of devices; None if it is not a literal, or left to Lightning."""
        value = literal(self.given("devices"))
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        if isinstance(value, list):
            return len(value)
        return value if isinstance(value, int) and value > 0 else None

    @property
    def devices_automatic(self) -> bool:
        """Whether the devices are left to Lightning, which takes all GPUs, or one CPU."""
        value = self.given("devices")
        return value is None or literal(value) in ("auto", -1, "-1")

    @property
    def devices(self) -> int | None:
        """The number of devices on each node, as passed, or as Lightning will count them."""
        if self.devices_passed is not None or not self.devices_automatic:
            return self.devices_passed
        if literal(self.given("accelerator")) == "cpu":
            return 1
        gpus = {usable_gpus(node) for node in self.context.nodes}
        return max(1, gpus.pop()) if len(gpus) == 1 else None

    @property
    def from_command_line(self) -> bool:
        """Whether `fabric run` passes its options to it."""
        return self.context.launcher.configures_fabric and self.name == "Fabric"

    @property
    def processes(self) -> int:
        """How many times the launch starts the script."""
        plan = self.context.plan
        return len(plan.nodes) if plan.once_per_node else plan.world_size

    @property
    def alone(self) -> bool:
        """Whether each rank would train by itself, though there are several."""
        if self.from_command_line:
            return False
        strategy = self.given("strategy")
        default = strategy is None or literal(strategy) == "auto"
        return default and self.nodes == self.devices == 1 and self.processes > 1

    def __str__(self) -> str:
        """Return it as `Fabric(devices=2, num_nodes=4)`, with only these arguments."""
        values = {name: self.given(name) for name in ("devices", "num_nodes")}
        words = [f"{name}={ast.unparse(value)}" for name, value in values.items() if value]
        return f"{self.name}({', '.join(words)})"

    def hint(
        self, message: str, remedy: str, status: Status | None = None, nodes: tuple[str, ...] = ()
    ) -> Hint:
        """Return a hint at the line of the call; `status` is by default that of its certainty."""
        return Hint(status or severity(self.how), self.call.lineno, message, remedy, nodes)

    def without_accelerator(self) -> Iterator[Hint]:
        """Yield a hint if some nodes do not have the accelerator that is named, or too few of it."""
        named = literal(self.given("accelerator"))
        what = f"{self.name}(accelerator={named!r})"
        if named == "mps":
            yield self.hint(f"{what} is for a Mac, but nodes run Linux", 'pass accelerator="auto"')
        if named not in _GPUS:
            return
        for lack, nodes in without_gpu(self.context).items():
            otherwise = 'pass accelerator="auto", or choose nodes with GPUs with --nodes'
            text = remedy(lack, otherwise)
            yield self.hint(f"{what} needs a GPU, but {lack}", text, nodes=nodes)
        counts = {node.name: usable_gpus(node) for node in self.context.nodes}
        wanted = self.devices_passed or 0
        few = tuple(name for name, count in counts.items() if 0 < count < wanted)
        if few:
            most = max(counts[name] for name in few)
            message = f"{self} needs {wanted} GPUs on each node, but there are {most}"
            yield self.hint(message, f"pass devices={most}", nodes=few)

    def trains_alone(self, status: Status) -> Hint:
        """Return the hint that each rank would train by itself, with a launch that fits."""
        script = self.context.script
        counts = [node.devices for node in self.context.plan.nodes]
        call = f"{self.name}(num_nodes={len(counts)}, devices={counts[0]})"
        if len(set(counts)) > 1:
            advice = "use as many ranks on every node (--nproc), and pass num_nodes and devices"
        elif self._fits_fabric_run():
            advice = "use --launcher fabric, which configures Fabric() for all ranks"
        elif self.name == "Fabric" and script and ".launch(" not in script.text:
            advice = f"write {call} and call its launch(), with --launcher torchrun"
        else:
            advice = f"write {call}, with --launcher torchrun"
        return self.hint(
            f"{self} is for a single rank: each of the {self.processes} ranks would train by itself",
            f"{advice}; if this is intended, start it with --preflight off",
            status,
        )

    def _fits_fabric_run(self) -> bool:
        """Return whether the script would run unchanged under `fabric run`."""
        job, script = self.context.job, self.context.script
        if self.name != "Fabric" or job.module or job.elastic is not None or script is None:
            return False
        options = (
            {
                "accelerator": "cuda" if node.gpus else "cpu",
                "devices": str(node.plan.devices),
                "num_nodes": str(len(self.context.plan.nodes)),
            }
            for node in self.context.nodes
        )
        clashes = (self._clash(name, each) for each in options for name in _DEFAULTS)
        return ".launch(" not in script.text and not any(clashes)

    def against_command_line(self) -> Iterator[Hint]:
        """Yield a hint for each argument that conflicts with an option of `fabric run`."""
        reported = {name for nodes in without_gpu(self.context).values() for name in nodes}
        clashes = grouped(
            ((name, repr(value), options[name]), node.name)
            for node in self.context.nodes
            for options in [_fabric_options(node.plan.processes[0].argv)]
            for name in _DEFAULTS
            if (value := self._clash(name, options)) is not None
            and not (value in _GPUS and node.name in reported)
        )
        for (name, value, option), nodes in clashes.items():
            yield self.hint(
                f"{self.name}({name}={value}) conflicts with --{name.replace('_', '-')}={option} of "
                "`fabric run`: Lightning raises an error",
                f"remove {name} from {self.name}(), which takes it from the launch, or use "
                "--launcher torchrun",
                nodes=tuple(nodes),
            )

    def _clash(self, name: str, options: Mapping[str, str]) -> object | None:
        """Return the value of argument `name` if an option of the command line conflicts with it."""
        value = literal(self.given(name))
        if name not in options or value is None:
            return None
        return value if str(value) not in (options[name], _DEFAULTS[name]) else None

    def against_shape(self) -> Iterator[Hint]:
        """Yield a hint if the numbers of nodes and devices are not those of the plan."""
        plan = self.context.plan
        counts = [node.devices for node in plan.nodes]
        here = f"this launch has {counted(len(counts), 'node')} with {_ranks(counts)}"
        remedy = (
            f"pass num_nodes={len(counts)} and devices={counts[0]}, or take them from the environment "
            "(WORLD_SIZE, LOCAL_WORLD_SIZE)"
        )

        def hint(what: str, status: Status | None = None) -> Hint:
            return self.hint(f"{self}: {here}: {what}", remedy, status)

        devices, unequal = self.devices, len(set(counts)) > 1
        fits = devices is not None and devices * (self.nodes or 0) == plan.world_size
        if not plan.once_per_node and self.devices_passed is None and unequal:
            yield hint("Lightning needs as many ranks on every node", Status.WARN)
        elif self.nodes is None or fits:
            return
        elif plan.once_per_node:
            if self.nodes != len(counts):
                yield hint("the ranks wait for nodes that do not exist")
            elif self.devices_passed is not None:
                yield hint(f"the script itself starts {self.devices_passed} on each", Status.WARN)
        elif devices is not None or self.nodes != len(counts):
            # Lightning may count accelerators that orch does not know.
            nodes_differ = self.given("num_nodes") is not None and self.nodes != len(counts)
            certain = self.devices_passed is not None or (self.devices_automatic and nodes_differ)
            what = "Lightning raises an error unless devices x num_nodes is the world size"
            yield hint(what, None if certain and not unequal else Status.WARN)


def _fabric_options(argv: tuple[str, ...]) -> dict[str, str]:
    """Return the options of `fabric run` that are arguments of Fabric(), too."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    words = (word.removeprefix("--").partition("=") for word in own if word.startswith("--"))
    options = {name.replace("-", "_"): value for name, sign, value in words if sign}
    return {name: options[name] for name in _DEFAULTS if name in options}


def _ranks(counts: list[int]) -> str:
    if len(set(counts)) == 1:
        return f"{counted(counts[0], 'rank')} each"
    return f"{min(counts)} to {max(counts)} ranks each"
