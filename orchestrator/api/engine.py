"""Choose the launcher of a job, and let it read its files on this machine: once, when it is launched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.api.hosts import Note
from orchestrator.api.job import JobRequest
from orchestrator.inventory import Host
from orchestrator.plan import Job
from orchestrator.plan.launchers import registry
from orchestrator.plan.plan import choose_launcher
from orchestrator.util.text import escaped


def job_for(asked: JobRequest, hosts: Sequence[Host], note: Note | None = None) -> Job:
    """Return the job as its launcher configures it.

    If neither the job nor a host names a launcher, one that the script surely is for is chosen, and `note`
    gets which and why. Raises UsageError.
    """
    job = asked.job
    folder = None if asked.source is None else asked.source / job.folder
    if job.launcher is None and not any(host.launcher for host in hosts):
        job = _with_launcher_of_script(job, asked.script, folder, note)
    launcher = choose_launcher(hosts, job)
    launcher.check_job(job)
    return launcher.configure(job, folder)


def _with_launcher_of_script(
    job: Job, script: Path | None, folder: Path | None, note: Note | None
) -> Job:
    """Return the job with the launcher for its script, if there is exactly one that surely is."""
    if script is None:
        return job
    text = script.read_text(encoding="utf-8-sig", errors="replace")
    reasons = {
        launcher.name: why
        for launcher in registry.all_launchers()
        if (why := launcher.why_chosen(text, job, folder)) is not None
    }
    if len(reasons) != 1:
        return job
    ((name, why),) = reasons.items()
    if note is not None:
        note(f"launcher: {name}, because {escaped(script.name)} {why}; --launcher overrides it")
    return replace(job, launcher=name)
