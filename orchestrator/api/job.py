"""The job of a launch or a preflight, and the folder that is copied to the nodes for it."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.api.environment import environment_of
from orchestrator.api.hosts import ANY, HostOptions
from orchestrator.api.nproc import Nproc, parse_nproc
from orchestrator.api.other_launchers import refuse_command
from orchestrator.api.program import check_program, is_program, is_shell_script, refuse_notebook
from orchestrator.api.script import (
    inside,
    is_readable_file,
    script_and_source,
    start_folder,
    workdir_name,
)
from orchestrator.api.values import AnyPath, number_or_auto, word_list
from orchestrator.errors import UsageError
from orchestrator.plan import Job
from orchestrator.plan.job import Function
from orchestrator.plan.masking import mask_in_logs
from orchestrator.util.text import escaped


class JobOptions(HostOptions, total=False):
    """What runs on the hosts."""

    nproc: int | str | None
    include: str | None
    launcher: str | None
    module: bool
    no_python: bool
    main_address: str | None
    main_port: int | Literal["auto"] | None
    env: Mapping[str, str] | Sequence[str]
    env_file: AnyPath | None
    sync: AnyPath | None
    no_sync: bool
    workdir: str | None


@dataclass(frozen=True)
class JobRequest:
    """A job, and the folder to copy to the nodes (None: they already have it).

    The job has no number of ranks yet: `nproc` has it, for `with_nproc`. `script` is the file of SCRIPT if
    it is Python, `program` if it is not; None if it is not on this machine.
    """

    job: Job
    source: Path | None
    script: Path | None
    program: Path | None
    nproc: Nproc


@dataclass(frozen=True)
class FunctionCall:
    """The call of a function, packed into the files of `folder`; `script` there shows what it imports."""

    folder: Path
    script: Path
    function: Function


def read_job(
    script: AnyPath | None,
    arguments: Sequence[object],
    options: JobOptions,
    *,
    launcher_arguments: Sequence[str] | None = None,
    before: Sequence[str] = (),
    function: FunctionCall | None = None,
) -> JobRequest:
    """Return the job that the options describe; without a script, one that fits any script.

    `before` are the words of the command line before SCRIPT. With `function`, `script` is its name. Raises
    UsageError.
    """
    nproc = parse_nproc(options.get("nproc"))
    if options.get("include") is not None and options.get("nproc") is not None:
        raise UsageError("--include and --nproc exclude each other: one rank starts for each GPU")
    env_file, sync = options.get("env_file"), options.get("sync")
    environment, secrets = environment_of(
        _variables(options.get("env", ())), None if env_file is None else Path(env_file)
    )
    mask_in_logs(environment, secrets)
    module, no_python = options.get("module", False), options.get("no_python", False)
    if no_python and module:
        raise UsageError("--no-python and --module exclude each other")
    name = "" if script is None else str(script)
    given = tuple(map(str, arguments))
    path, source = None, None if sync is None else Path(sync)
    if function is not None:
        path = function.script
        source = source_of_function(options)
    elif script is not None:
        if not no_python:
            refuse_command((name, *given), module, before)
        path, source = script_and_source(
            name,
            module=module,
            sync=source,
            no_sync=options.get("no_sync", False),
            no_python=no_python,
        )
    folder = start_folder(source) if source is not None else ""
    is_file = path is not None and not module and is_readable_file(path)
    is_script = is_file and function is None
    program = path is not None and not module and _is_program(path, is_file, no_python=no_python)
    if path is not None and source is not None and is_script:
        name = posixpath.relpath(inside(path, source), folder or ".")
    is_relative = is_script or is_shell_script(name)  # otherwise PATH is searched for a program
    if not module and (name.startswith("-") or (program and is_relative and "/" not in name)):
        name = f"./{name}"
    job = Job(
        script=name,
        arguments=given,
        module=module,
        program=program,
        launcher=options.get("launcher"),
        launcher_arguments=word_list("--launcher-arg", launcher_arguments),
        main_address=options.get("main_address"),
        main_port=number_or_auto("--main-port", options.get("main_port"), 65535),
        environment=environment,
        secrets=secrets,
        workdir_name=workdir_name(source),
        project=str((source or Path()).resolve()),
        workdir=options.get("workdir") or None,
        folder=folder,
        function=None if function is None else function.function,
    )
    file = path if is_file else None
    return JobRequest(job, source, None if program else file, file if program else None, nproc)


def source_of_function(options: JobOptions) -> Path | None:
    """Return the folder that is copied to the nodes with a function: --sync, or the current one.

    Raises UsageError.
    """
    sync, no_sync = options.get("sync"), options.get("no_sync", False)
    _, source = script_and_source(
        "", module=True, sync=None if sync is None else Path(sync), no_sync=no_sync
    )
    return source


def _is_program(path: Path, is_file: bool, *, no_python: bool) -> bool:
    """Tell whether SCRIPT is started without Python. Raises UsageError if it cannot be started."""
    try:
        if not is_file:
            refuse_notebook(path)
            return no_python or is_shell_script(path.name)
        if no_python:
            check_program(path)
        return no_python or is_program(path)
    except OSError as error:
        raise UsageError(f"{escaped(str(path))}: {error.strerror}") from None


def _variables(env: Mapping[str, str] | Sequence[str]) -> tuple[str, ...]:
    """Return variables as `--env` takes them."""
    if not isinstance(env, Mapping):
        return word_list("--env", env)
    for name in env:
        if "=" in name:
            raise UsageError(f"--env {name!r}: expected a variable's name, which has no =")
    return tuple(f"{name}={value}" for name, value in env.items())


def project_here() -> Job:
    """Return the job that a launch from the current folder would have, without a script."""
    here = Path.cwd()
    return Job("", workdir_name=workdir_name(here), project=str(here.resolve()))


def local_name(job: Job | None) -> str:
    """Return the parent of embedded nodes' working folders: one per project, and one for no project."""
    if job is None:
        return ANY
    digest = hashlib.sha256(os.fsencode(job.project)).hexdigest()
    return f"{job.workdir_name}-{digest[:8]}"
