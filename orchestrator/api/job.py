"""What is launched, with what, and what goes to the nodes for it: the options that say so, as a job."""

from __future__ import annotations

import hashlib
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from orchestrator.api.environment import environment_of
from orchestrator.api.other_launchers import refuse_command
from orchestrator.api.program import check_program, is_program, is_shell_script, refuse_notebook
from orchestrator.api.script import (
    can_be_seen,
    inside,
    script_and_source,
    start_folder,
    workdir_name,
)
from orchestrator.api.values import number_or_auto
from orchestrator.errors import UsageError
from orchestrator.plan import Job
from orchestrator.plan.masking import mask_in_logs
from orchestrator.util.text import escaped


@dataclass(frozen=True)
class JobWords:
    """The words of the command line that are about the job, as typed; `script` may be left open."""

    script: str | None
    module: bool
    launcher: str | None
    nproc: str | None
    main_address: str | None
    main_port: str | None
    env: tuple[str, ...]
    env_file: Path | None
    sync: Path | None
    no_sync: bool
    workdir: str | None = None
    arguments: tuple[str, ...] = ()
    launcher_arguments: tuple[str, ...] = ()
    no_python: bool = False
    before: tuple[str, ...] = ()
    """The words in front of SCRIPT, as typed."""


@dataclass(frozen=True)
class Asked:
    """The job, and the folder that goes to the nodes (None: they have it).

    `script` is the file of SCRIPT where it is Python, `program` where it is not; None where it cannot be
    seen from here.
    """

    job: Job
    source: Path | None
    script: Path | None
    program: Path | None


def read_job(words: JobWords) -> Asked:
    """Return what the words ask for. Raises UsageError."""
    environment, secrets = environment_of(words.env, words.env_file)
    mask_in_logs(environment, secrets)
    name, script, source = words.script or "", None, words.sync
    if words.no_python and words.module:
        raise UsageError("--no-python and --module exclude each other")
    if words.script is not None:
        if not words.no_python:
            refuse_command((words.script, *words.arguments), words.module, words.before)
        script, source = script_and_source(
            words.script,
            module=words.module,
            sync=words.sync,
            no_sync=words.no_sync,
            no_python=words.no_python,
        )
    folder = start_folder(source) if source is not None else ""
    is_file = script is not None and not words.module and can_be_seen(script)
    program = script is not None and not words.module and _is_program(words, script, is_file)
    if script is not None and source is not None and is_file:
        name = posixpath.relpath(inside(script, source), folder or ".")
    is_relative = is_file or is_shell_script(name)  # else a program is looked for in PATH
    if not words.module and (name.startswith("-") or (program and is_relative and "/" not in name)):
        name = f"./{name}"
    job = Job(
        script=name,
        arguments=words.arguments,
        module=words.module,
        program=program,
        launcher=words.launcher,
        launcher_arguments=words.launcher_arguments,
        devices=number_or_auto("--nproc", words.nproc, 1024),
        main_address=words.main_address,
        main_port=number_or_auto("--main-port", words.main_port, 65535),
        environment=environment,
        secrets=secrets,
        workdir_name=workdir_name(source),
        project=str((source or Path()).resolve()),
        workdir=words.workdir or None,
        folder=folder,
    )
    seen = script if is_file else None
    return Asked(job, source, None if program else seen, seen if program else None)


def _is_program(words: JobWords, script: Path, is_file: bool) -> bool:
    """Tell whether SCRIPT is started as it is. Raises UsageError where it cannot be started."""
    try:
        if not is_file:
            refuse_notebook(script)
            return words.no_python or is_shell_script(script.name)
        if words.no_python:
            check_program(script)
        return words.no_python or is_program(script)
    except OSError as error:
        raise UsageError(f"{escaped(str(script))}: {error.strerror}") from None


def local_name(job: Job) -> str:
    """Return the name of the folder below which embedded nodes work for the job's project, and no other."""
    digest = hashlib.sha256(os.fsencode(job.project)).hexdigest()
    return f"{job.workdir_name}-{digest[:8]}"
