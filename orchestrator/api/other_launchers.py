"""Translate a command of Python or another launcher, given in place of SCRIPT, to one of orch."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from orchestrator.errors import UsageError
from orchestrator.plan.masking import known_secrets, masked_words
from orchestrator.util.text import escaped

_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_PYTHON_WITH_VALUE = {"-W", "-X"}
_SHELLS = {"bash", "sh", "dash", "zsh", "ksh"}
_PREFIXES = {"exec", "time", "nohup", "env"}
_PLACEHOLDER = "train.py"
_HOSTS = {"-i", "--inventory", "-H", "--hosts", "--local", "--slurm"}


@dataclass(frozen=True)
class _Launcher:
    """How a launcher's options translate to those of orch.

    `after` are the words that follow its name, `renamed` options with a value that orch has too, `flags`
    those without a value, `pairs` those with two, `kept` those passed to the launcher. Other options are
    dropped, since orch does that itself. `own` are options that choose the launcher.
    """

    after: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: frozenset[str] = frozenset()
    kept: frozenset[str] | re.Pattern[str] = frozenset()

    def keeps(self, option: str) -> bool:
        """Tell whether the launcher gets this option as it is."""
        if isinstance(self.kept, frozenset):
            return option in self.kept
        return self.kept.fullmatch(option) is not None


_OF_TORCHRUN = """
    --max-restarts --monitor-interval --start-method --event-log-handler --role --log-dir -r --redirects -t
    --tee --local-ranks-filter --numa-binding --signals-to-handle --shutdown-timeout
"""
_FLAGS_OF_ACCELERATE = """
    --use-deepspeed --use-fsdp --use-megatron-lm --use-parallelism-config --quiet -q --debug
    --enable-cpu-affinity
"""
# Accelerate has options by the dozen: all with these names are passed to it.
_OF_ACCELERATE = re.compile(
    r"--(config-file|mixed-precision|max-restarts|role|log-dir|tee|monitor-interval|"
    r"num-cpu-threads-per-process|gradient-\w[\w-]*|zero-stage|zero3-[\w-]+|offload-[\w-]+|"
    r"deepspeed-(config-file|moe-layer-cls-names)|(dynamo|fsdp|fp8|megatron-lm|parallelism-config)-[\w-]+)"
)
_TORCHRUN = _Launcher(
    renamed={
        "--nproc-per-node": "--nproc",
        "--master-port": "--main-port",
        "--nnodes": "--elastic",
    },
    flags={
        "-m": ("-m",),
        "--module": ("-m",),
        "--no-python": ("--no-python",),
        "--standalone": (),
        "--use-env": (),
    },
    kept=frozenset(_OF_TORCHRUN.split()),
)
_FABRIC = _Launcher(
    after=("run",),
    own=("--launcher", "fabric"),
    renamed={"--devices": "--nproc", "--main-port": "--main-port"},
    kept=frozenset({"--accelerator", "--strategy", "--precision"}),
)
_ACCELERATE = _Launcher(
    after=("launch",),
    own=("--launcher", "accelerate"),
    renamed={"--main-process-port": "--main-port", "--gpu-ids": "--env=CUDA_VISIBLE_DEVICES"},
    flags={
        "-m": ("-m",),
        "--module": ("-m",),
        "--no-python": ("--no-python",),
        "--same-network": (),
        "--cpu": ("--env=ACCELERATE_USE_CPU=true",),
        "--multi-gpu": (),
        **{flag: (f"--launcher-arg={flag}",) for flag in _FLAGS_OF_ACCELERATE.split()},
    },
    kept=_OF_ACCELERATE,
)
_DEEPSPEED = _Launcher(
    own=("--launcher", "deepspeed"),
    renamed={
        "--num-gpus": "--nproc",
        "--master-port": "--main-port",
        **dict.fromkeys(("--hostfile", "-H"), "-i"),
        **dict.fromkeys(("--include", "-i"), "--include"),
        **dict.fromkeys(("--exclude", "-e"), "--exclude"),
    },
    flags={
        "--module": ("-m",),
        "--no-python": ("--no-python",),
        "--no-ssh": (),
        "--no-local-rank": ("--launcher-arg=--no_local_rank",),
        "--force-multi": (),
    },
)
_SRUN = _Launcher(flags=dict.fromkeys(("-l", "--label", "-u", "--unbuffered"), ()))
_MPI = _Launcher(
    renamed={
        **dict.fromkeys(("-H", "-host", "--host", "-hosts", "--hosts"), "-H"),
        **dict.fromkeys(("-hostfile", "--hostfile", "-machinefile", "--machinefile"), "-i"),
        "-f": "-i",
        "-x": "--env",
    },
    flags=dict.fromkeys(
        ("--oversubscribe", "-oversubscribe", "--allow-run-as-root", "-allow-run-as-root", "-l"), ()
    ),
    pairs=frozenset({"-mca", "--mca", "-gmca", "--gmca", "-env", "-genv"}),
)
_RUNNER = _Launcher(after=("run",))

_LAUNCHERS = {
    "torchrun": _TORCHRUN,
    "fabric": _FABRIC,
    "lightning": replace(_FABRIC, after=("run", "model")),
    "accelerate": _ACCELERATE,
    "accelerate-launch": replace(_ACCELERATE, after=()),
    "deepspeed": _DEEPSPEED,
    "srun": _SRUN,
    **dict.fromkeys(("mpirun", "mpiexec", "mpiexec.hydra", "horovodrun"), _MPI),
    **dict.fromkeys(("uv", "poetry", "pipenv", "pdm", "conda", "mamba"), _RUNNER),
}
_MODULES = {
    "torch.distributed.run": "torchrun",
    "torch.distributed.launch": "torchrun",
    "accelerate.commands.launch": "accelerate-launch",
    "deepspeed.launcher.runner": "deepspeed",
    "lightning.fabric.cli": "fabric",
}


def refuse_command(words: Sequence[str], module: bool, before: Sequence[str]) -> None:
    """Raise UsageError if `words`, SCRIPT and its arguments, are a command for one machine.

    The remedy is the equivalent orch command; `before` are the options of orch before `words`, as typed.
    """
    if module and words[0] not in _MODULES:
        return
    if not module and len(words) == 1:
        words = _split(words[0])
        if len(words) > 1 and os.path.isfile(words[0]):  # noqa: PTH113 - of any length
            raise UsageError(
                "SCRIPT and its arguments are in one pair of quotes",
                remedy=f"type: {_shown(['orch', 'launch', *before, *words])}",
            )
    if not module and not is_command(words[0]):
        return
    is_hosted = any(word.partition("=")[0] in _HOSTS or word[:2] in _HOSTS for word in before)
    line = _line(("python", "-m", *words) if module else words, is_hosted=is_hosted)
    command = PurePosixPath(words[0]).name
    if line is None:
        raise UsageError(
            f"orch launch starts a script, and this `{escaped(command)}` has none",
            remedy=f"put the code into a file: orch launch {_PLACEHOLDER}",
        )
    own = [word for word in before if not (module and word in ("-m", "--module"))]
    remedy = f"type: {_shown(['orch', 'launch', *own, *line])}"
    if _PYTHON.fullmatch(command) and "/" in words[0]:
        remedy += f"; the inventory names the nodes' Python: python: {escaped(words[0])}"
    raise UsageError(
        f"`{escaped(command)}` is not needed: orch launch starts the script on every node itself",
        remedy=remedy,
    )


def launcher_in(line: str) -> str | None:
    """Return the launcher that a line of a shell script runs, None for any other command."""
    words = line.split()
    while words and (words[0] in _PREFIXES or "=" in words[0]):
        words.pop(0)
    if not words:
        return None
    name = PurePosixPath(words[0].strip("\"'")).name
    if _PYTHON.fullmatch(name):
        return next((word for word in words[2:] if word in _MODULES), None)
    launcher = _LAUNCHERS.get(name)
    if launcher is _RUNNER:
        return launcher_in(" ".join(words[2:]))
    if launcher is None or tuple(words[1 : 1 + len(launcher.after)]) != launcher.after:
        return None
    return " ".join((name, *launcher.after))


def is_command(word: str) -> bool:
    """Tell whether `word` is Python, a shell or a launcher, and not a script of that name."""
    path = PurePosixPath(word)
    if not (path.name in _LAUNCHERS or path.name in _SHELLS or _PYTHON.fullmatch(path.name)):
        return False
    return path.parent.name == "bin" if "/" in word else not Path(word).exists()


def _split(word: str) -> Sequence[str]:
    """Return the words of a command that was typed as one quoted word."""
    if " " not in word or os.path.exists(word):  # noqa: PTH110 - of any length
        return [word]
    try:
        return shlex.split(word) or [word]
    except ValueError:
        return [word]


def _line(words: Sequence[str], *, is_hosted: bool) -> list[str] | None:
    """Return options, SCRIPT and arguments for orch; None if `words` have no script.

    Without those that name hosts if it `is_hosted`: options of orch name them already.
    """
    if not words:
        return None
    if not is_command(words[0]):
        return list(words)
    name, rest = PurePosixPath(words[0]).name, list(words[1:])
    if _PYTHON.fullmatch(name):
        return _of_python(rest, is_hosted=is_hosted)
    if name in _SHELLS:
        return rest if rest and not rest[0].startswith("-") else None
    launcher = _LAUNCHERS[name]
    return _of_launcher(launcher, rest[len(launcher.after) :], is_hosted=is_hosted)


def _of_python(words: list[str], *, is_hosted: bool) -> list[str] | None:
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in _PYTHON_WITH_VALUE:
            del words[:1]
        elif word == "-m" and words:
            if words[0] not in _MODULES:
                return ["-m", *words]
            name = _MODULES[words[0]]
            launcher = _LAUNCHERS[name]
            skip = 1 + (len(launcher.after) if words[1:2] == list(launcher.after[:1]) else 0)
            return _of_launcher(launcher, words[skip:], is_hosted=is_hosted)
        elif word in ("-c", "-"):
            return None
    return words or None


def _of_launcher(launcher: _Launcher, words: list[str], *, is_hosted: bool) -> list[str] | None:
    options = list(launcher.own)
    while words and words[0].startswith("-"):
        word, equals, value = words.pop(0).partition("=")
        option = word.replace("_", "-")
        if word == "--":
            break
        if option in launcher.flags:
            options += launcher.flags[option]
            continue
        if option in launcher.pairs:
            del words[:2]
            continue
        if not equals and words and not _looks_like_script(words):
            value = words.pop(0)
        if not (is_hosted and launcher.renamed.get(option) in _HOSTS):
            options += _translated(launcher, option, value, word)
    rest = _line(words, is_hosted=is_hosted)
    return None if rest is None else [*options, *rest]


def _translated(launcher: _Launcher, option: str, value: str, word: str) -> Iterable[str]:
    """Return orch's form of an option with a value, typed as `word`."""
    if launcher.keeps(option):
        joined = f"{word}={value}" if word.startswith("--") else f"{word}{value}"
        return [f"--launcher-arg={joined}"]
    name = launcher.renamed.get(option)
    if name is None or not value or (name == "--elastic" and ":" not in value):
        return []
    if option == "--gpu-ids" and value == "all":
        return []
    if name == "--nproc" and value in ("cpu", "xpu"):  # one rank for each core, or device
        value = "auto"
    return [f"{name}={value}"] if "=" in name else [name, value]


def _looks_like_script(words: Sequence[str]) -> bool:
    """Tell whether the words after an unknown option start the command rather than being its value."""
    return words[0].startswith("-") or words[0].endswith((".py", ".sh")) or is_command(words[0])


def _shown(words: Sequence[str]) -> str:
    pairs = (word.split("=", 1) for word in words if "=" in word)
    known = known_secrets({name.rpartition("-")[2]: value for name, value in pairs})
    return escaped(shlex.join(masked_words(words, known)))
