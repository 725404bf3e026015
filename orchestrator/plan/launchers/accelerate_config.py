"""Read what orch must know of a configuration of Accelerate (accelerate/commands/config/config_args.py).

Accelerate itself reads the file on the nodes; the numbers of machines and processes, the address and the
port in it are replaced by those of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import escaped, quoted

NAMES = tuple(
    f"{stem}.{suffix}"
    for stem in ("accelerate_config", "default_config")
    for suffix in ("yaml", "yml", "json")
)
"""What such a file is called beside a script; `accelerate config` calls its own default_config.yaml."""

_MAX_BYTES = 1 << 20
_KIND = "distributed_type"
_TRUE = {"true", "yes", "on"}
_OF_TORCHRUN = {"FSDP", "DEEPSPEED", "MEGATRON_LM"}
_SIMPLE = {"NO", "MULTI_CPU"}
_GPUS = {"MULTI_GPU", *_OF_TORCHRUN, *_SIMPLE}


@dataclass(frozen=True)
class Config:
    """One configuration: its `distributed_type`, and the GPUs of each node (None: all)."""

    kind: str
    use_cpu: bool = False
    gpu_ids: str | None = None

    @property
    def starts_ranks(self) -> bool:
        """Whether Accelerate starts ranks for this type; otherwise it starts one process without a rank."""
        return self.kind not in _SIMPLE

    @property
    def runs_on_cpu(self) -> bool:
        return self.use_cpu or self.kind == "MULTI_CPU"

    @property
    def has_other_accelerators(self) -> bool:
        """Whether it is for accelerators that orch does not count, such as NPUs."""
        return self.kind not in _GPUS


def find_config(folders: Iterator[Path]) -> Path | None:
    """Return the first file in these folders with one of the names that is a configuration."""
    files = (folder / name for folder in dict.fromkeys(folders) for name in NAMES)
    return next((file for file in files if file.is_file() and _is_config(file)), None)


def read_config(file: Path) -> Config:
    """Return the configuration in `file`. Raises UsageError if orch cannot launch with it."""
    shown = escaped(str(file))
    values = _values(_text(file), str(file))
    kind, line = values.get(_KIND, ("", 1))
    if not kind:
        raise UsageError(
            f"{shown}: there is no distributed_type, which Accelerate needs",
            remedy=f"write a new one: accelerate config --config_file {shown}",
        )
    place, at = values.get("compute_environment", ("LOCAL_MACHINE", line))
    if place != "LOCAL_MACHINE":
        raise UsageError(
            f"{shown}:{at}: compute_environment {quoted(place)} is not started on hosts over SSH"
        )
    if not (kind in _SIMPLE | _OF_TORCHRUN or kind.startswith("MULTI_")):
        raise UsageError(
            f"{shown}:{line}: Accelerate does not start distributed_type {quoted(kind)} with torchrun",
            remedy="use a configuration of type MULTI_GPU, MULTI_CPU, FSDP, DEEPSPEED or MEGATRON_LM",
        )
    ids = values.get("gpu_ids", ("", 0))[0]
    return Config(
        kind=kind,
        use_cpu=values.get("use_cpu", ("", 0))[0].lower() in _TRUE,
        gpu_ids=None if ids.lower() in ("", "all", "null", "~") else ids,
    )


def _is_config(file: Path) -> bool:
    """Tell whether a file is a configuration, also one with a mistake, which `read_config` reports."""
    try:
        text = _text(file)
    except UsageError:  # the copy to the nodes reports what cannot be read
        return False
    try:
        return _KIND in _values(text, str(file))
    except UsageError:
        return _KIND in text


def _text(file: Path) -> str:
    shown = escaped(str(file))
    try:
        return read_bounded(file, _MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{shown}: there is no such file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{shown}: not a text file in UTF-8") from None
    except Unreadable as error:
        raise UsageError(f"{shown}: {error}") from None


def _values(text: str, source: str) -> dict[str, tuple[str, int]]:
    """Return the scalars at the top of YAML or JSON by key, each with its line (from 1)."""
    # Slow to import, and the help of commands lists the launchers.
    from ruamel.yaml.nodes import MappingNode, ScalarNode

    from orchestrator.inventory.problems import Problems
    from orchestrator.inventory.yaml_nodes import NotYaml, compose, position

    problems = Problems(source)
    try:
        root = compose(text, problems)
    except NotYaml:
        raise UsageError(problems.error().message) from None
    if not isinstance(root, MappingNode):
        return {}
    return {
        key.value: (value.value, position(value)[0])
        for key, value in root.value
        if isinstance(key, ScalarNode) and isinstance(value, ScalarNode)
    }
