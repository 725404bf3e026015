"""The interpreter that a node would run the job in, inspected without importing anything."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from orchestrator.preflight.answers import reader, text
from orchestrator.preflight.model import NoAnswer, NodeContext, Probe
from orchestrator.preflight.script.imports import needs

Advice = tuple[str, tuple[str, ...]]
"""The text and commands of a verdict's remedy."""

NAME_PYTHON = (
    "name the Python of the environment that has torch with `python:` in the inventory, or --python"
)
"""What to try first if torch is missing: mostly another Python was meant."""

# The local part of torch's version (after the +), if an index of its own has that build.
_BUILD = re.compile(r"cpu|cu\d+|rocm[\d.]+|xpu")
_ENVIRONMENT = "~/torch-env"
_INDEX = "https://download.pytorch.org/whl"


def absolute_path(raw: Any) -> str:
    """Return a path of a node. Raises ValueError unless it is absolute and on one line."""
    if not isinstance(raw, str) or not raw.startswith("/") or not raw.isprintable():
        raise ValueError(f"not an absolute path: {raw!r:.80}")
    return raw


def _word(raw: Any) -> str:
    return text(raw, 100).replace(" ", "_")


Word = Annotated[str, _word]
AbsolutePath = Annotated[str, absolute_path]


@dataclass(frozen=True)
class Torch:
    """torch as its version.py describes it: `platform` is `CUDA 13.0`, `ROCm 6.4`, or `no GPU`."""

    version: str
    platform: str

    def __str__(self) -> str:
        return f"torch {self.version} ({self.platform})"

    @property
    def requirement(self) -> str:
        """The requirement for pip, with the index that has this build."""
        _, _, build = self.version.partition("+")
        index = f" --index-url {_INDEX}/{build}" if _BUILD.fullmatch(build) else ""
        return f"{shlex.quote(f'torch=={self.version}')}{index}"


def _torch(raw: Mapping[str, Any] | None) -> Torch | None:
    if raw is None:
        return None
    if raw["cuda"]:
        platform = f"CUDA {_word(raw['cuda'])}"
    else:
        platform = f"ROCm {_word(raw['hip'])}" if raw["hip"] else "no GPU"
    return Torch(_word(raw["version"] or "?"), platform)


@dataclass(frozen=True)
class Nccl:
    """The distribution that contains NCCL: `nvidia-nccl-cu13` and its version."""

    distribution: str
    version: str

    @property
    def requirement(self) -> str:
        """The requirement for pip."""
        return shlex.quote(f"{self.distribution}=={self.version}")


@dataclass(frozen=True)
class Interpreter:
    """One interpreter; `missing` are the script's modules that it does not find.

    `ensurepip` is whether it can create virtual environments (Debian packages that separately), `managed`
    whether its packages are the system's, where pip refuses to install. `elsewhere` are other
    interpreters of the node that have torch, if this one does not.
    """

    executable: AbsolutePath
    python: Word
    torch: Annotated[Torch | None, _torch]
    distributions: Mapping[Word, Word]
    pip: bool
    missing: tuple[Word, ...]
    ensurepip: bool = True
    managed: bool = False
    elsewhere: tuple[AbsolutePath, ...] = ()

    @property
    def minor(self) -> str:
        """Python's version without the patch level."""
        return ".".join(self.python.split(".")[:2])

    @property
    def nccl(self) -> Nccl | None:
        """The NCCL for torch's CUDA; None if torch contains it, or the system has it."""
        match = re.match(r"CUDA (\d+)", self.torch.platform if self.torch else "")
        name = f"nvidia-nccl-cu{match[1]}" if match else ""
        version = self.distributions.get(name)
        return None if version is None else Nccl(name, version)

    @property
    def lightning(self) -> str | None:
        """The version of Lightning, under either of its names."""
        return self.distributions.get("lightning", self.distributions.get("pytorch-lightning"))

    def install(self, what: str, *requirements: str) -> Advice:
        """Return how to install `what`: requirements for pip, quoted for a shell.

        If the system manages the interpreter's packages, they go into an environment of their own.
        """
        python, packages = shlex.quote(self.executable), " ".join(requirements)
        if not self.managed:
            first = () if self.pip else (f"{python} -m ensurepip",)
            return f"install {what}", (*first, f"{python} -m pip install {packages}")
        venv = shlex.quote(f"python{self.minor}-venv")
        commands = (
            *(() if self.ensurepip else (f"sudo apt-get install -y {venv}",)),
            f"{python} -m venv --system-site-packages {_ENVIRONMENT}",
            f"{_ENVIRONMENT}/bin/python -m pip install {packages}",
        )
        text = (
            f"install {what} in an environment of its own, as the system manages this Python's packages; "
            f"then name that with `python: {_ENVIRONMENT}/bin/python` in the inventory"
        )
        return text, commands

    def install_torch(self, what: str = "torch", requirement: str = "torch") -> Advice:
        """Return how to get torch: by an interpreter that has it, or by installing it."""
        if self.torch is not None:
            return self.install(what, requirement)
        if self.elsewhere:
            path = self.elsewhere[0]
            return f"name the Python that has torch: `python: {path}` in the inventory", ()
        advice, commands = self.install(what, requirement)
        return f"{NAME_PYTHON}; else {advice}", commands


@dataclass(frozen=True)
class Software:
    """What one node runs; if the interpreter does not start for the job, `broken` is why."""

    kernel: Word
    driver: Word | None
    interpreter: Interpreter | None
    broken: str | None = None


def _arguments(node: NodeContext) -> dict[str, Any]:
    script = node.context.script
    cwd = node.plan.cwd
    own = posixpath.dirname(posixpath.join(cwd, node.context.job.script))
    return {
        "names": [] if script is None else list(needs(script).imports),
        "folder": posixpath.normpath(own or cwd),
        **job_environment(node),
    }


def job_environment(node: NodeContext) -> dict[str, Any]:
    """Return what a probe needs to start a process as the job would."""
    plan = node.plan
    return {
        "workdir": plan.cwd,
        "environment": dict(plan.environment),
        "unset": list(plan.unset),
    }


SOFTWARE = Probe("software", reader(Software), _arguments)


def interpreter_of(node: NodeContext) -> Interpreter | None:
    """Return the job's interpreter on a node; None if it is not known, or does not start."""
    found = node.context.of(SOFTWARE)[node.name]
    return None if isinstance(found, NoAnswer) else found.interpreter
