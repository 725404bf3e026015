"""The interpreter that a node would run the job in, as the node found it without importing anything."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.model import NodeContext, Probe
from orchestrator.preflight.script.imports import needs

# The part of torch's version after the +, where the wheel stands on an index of its own.
_BUILD = re.compile(r"cpu|cu\d+|rocm[\d.]+|xpu")
NAME_PYTHON = "name the Python of the environment that has torch with `python:` in the inventory"
"""What to do first where torch is missing: mostly it is another Python that was meant."""

_ENVIRONMENT = "~/torch-env"
_INDEX = "https://download.pytorch.org/whl"


@dataclass(frozen=True)
class Torch:
    """torch as its version.py has it: `platform` is `CUDA 13.0`, `ROCm 6.4`, or `no GPU`."""

    version: str
    platform: str

    def __str__(self) -> str:
        return f"torch {self.version} ({self.platform})"

    @property
    def requirement(self) -> str:
        """What pip is asked for, with the index that has this build."""
        _, _, build = self.version.partition("+")
        index = f" --index-url {_INDEX}/{build}" if _BUILD.fullmatch(build) else ""
        return f"{shlex.quote(f'torch=={self.version}')}{index}"


@dataclass(frozen=True)
class Nccl:
    """The distribution that brings NCCL: `nvidia-nccl-cu13` and its version."""

    distribution: str
    version: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return shlex.quote(f"{self.distribution}=={self.version}")


@dataclass(frozen=True)
class Interpreter:
    """What one interpreter has; `missing` are the script's modules that it does not find.

    `ensurepip` is whether it can make virtual environments (Debian has that in a package of its own), and
    `managed` whether its packages are those of the system, where pip refuses to install. `elsewhere` are
    other interpreters of the node, which have a torch where this one has none.
    """

    executable: str
    python: str
    torch: Torch | None
    nccl: Nccl | None
    lightning: str | None
    pip: bool
    missing: tuple[str, ...]
    ensurepip: bool = True
    managed: bool = False
    elsewhere: tuple[str, ...] = ()

    @property
    def minor(self) -> str:
        """Python's version without the patch level."""
        return ".".join(self.python.split(".")[:2])

    def install(self, *requirements: str) -> tuple[str, ...]:
        """Return the lines that install what pip is asked for in words that a shell can read.

        Where the system manages the interpreter's packages, they go to an environment of their own.
        """
        python = shlex.quote(self.executable)
        if self.managed:
            own = f"{_ENVIRONMENT}/bin/python -m pip install {' '.join(requirements)}"
            package = shlex.quote(f"python{self.minor}-venv")
            whole = () if self.ensurepip else (f"sudo apt-get install -y {package}",)
            return *whole, f"{python} -m venv --system-site-packages {_ENVIRONMENT}", own
        first = () if self.pip else (f"{python} -m ensurepip",)
        return (*first, f"{python} -m pip install {' '.join(requirements)}")

    def installing(self, what: str) -> str:
        """Return in a sentence what `install` does: `what`, and what else is needed for that."""
        if not self.managed:
            return what
        return (
            f"{what}, in an environment of its own, for the system manages this Python's packages; then "
            f"name that with `python: {_ENVIRONMENT}/bin/python` in the inventory"
        )

    def providing_torch(self) -> str | None:
        """Return how to name an interpreter that has torch; None where none was found."""
        if not self.elsewhere:
            return None
        return f"name the Python that has torch: `python: {self.elsewhere[0]}` in the inventory"


@dataclass(frozen=True)
class Software:
    """What one node runs on; a str for the interpreter is why it does not start for the job."""

    kernel: str
    driver: str | None
    interpreter: Interpreter | str

    @classmethod
    def parse(cls, raw: Any) -> Software:
        """Return what a node answered."""
        found = raw["interpreter"]
        return cls(
            kernel=_word(raw["kernel"]),
            driver=optional(_word, raw["driver"]),
            interpreter=text(raw["broken"]) if found is None else _interpreter(found),
        )


def _interpreter(raw: Any) -> Interpreter:
    distributions = {_word(name): _word(each) for name, each in raw["distributions"].items()}
    torch = _torch(raw["torch"])
    return Interpreter(
        executable=absolute_path(raw["executable"]),
        python=_word(raw["python"]),
        torch=torch,
        nccl=_nccl(distributions, torch),
        lightning=distributions.get("lightning", distributions.get("pytorch-lightning")),
        pip=bool(raw["pip"]),
        missing=tuple(_word(name) for name in raw["missing"]),
        ensurepip=raw["ensurepip"] is True,
        managed=raw["managed"] is True,
        elsewhere=tuple(absolute_path(path) for path in raw["elsewhere"]),
    )


def _torch(raw: Mapping[str, Any] | None) -> Torch | None:
    if raw is None:
        return None
    if raw["cuda"]:
        platform = f"CUDA {_word(raw['cuda'])}"
    else:
        platform = f"ROCm {_word(raw['hip'])}" if raw["hip"] else "no GPU"
    return Torch(_word(raw["version"] or "?"), platform)


def _nccl(distributions: Mapping[str, str], torch: Torch | None) -> Nccl | None:
    """Return the NCCL for torch's CUDA; None where torch brings its own, or the system does."""
    match = re.match(r"CUDA (\d+)", torch.platform if torch else "")
    name = f"nvidia-nccl-cu{match[1]}" if match else ""
    return Nccl(name, distributions[name]) if name in distributions else None


def _word(raw: Any) -> str:
    return text(raw, 100).replace(" ", "_")


def absolute_path(raw: Any) -> str:
    """Return a path of a node. Raises ValueError for anything but an absolute one of one line."""
    if not isinstance(raw, str) or not raw.startswith("/") or not raw.isprintable():
        raise ValueError(f"not an absolute path: {raw!r:.80}")
    return raw


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
    """Return what a node must know to start a process as the job would."""
    plan = node.plan
    return {
        "workdir": plan.cwd,
        "environment": dict(plan.environment),
        "unset": list(plan.unset),
    }


SOFTWARE = Probe("software", Software.parse, _arguments)
