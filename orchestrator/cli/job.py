"""What is launched, with what, and what goes to the nodes for it: the options that say so, as a job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.environment import environment_of
from orchestrator.cli.script import inside, script_and_source, workdir_name
from orchestrator.cli.values import number_or_auto
from orchestrator.plan import Job


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
    arguments: tuple[str, ...] = ()
    launcher_arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The job, the folder that goes to the nodes (None: they have it), and the script where it can be
    looked into from here.
    """

    job: Job
    source: Path | None
    script: Path | None


def read_job(words: JobWords) -> Asked:
    """Return what the words ask for. Raises UsageError."""
    environment, secrets = environment_of(words.env, words.env_file)
    name, script, source = words.script or "", None, words.sync
    if words.script is not None:
        script, source = script_and_source(
            words.script, module=words.module, sync=words.sync, no_sync=words.no_sync
        )
        if source is not None and not words.module:
            name = inside(script, source)
    job = Job(
        script=name,
        arguments=words.arguments,
        module=words.module,
        launcher=words.launcher,
        launcher_arguments=words.launcher_arguments,
        devices=number_or_auto("--nproc", words.nproc, 1024),
        main_address=words.main_address,
        main_port=number_or_auto("--main-port", words.main_port, 65535),
        environment=environment,
        secrets=secrets,
        workdir_name=workdir_name(source),
    )
    is_here = script is not None and script.is_file() and not words.module
    return Asked(job, source, script if is_here else None)
