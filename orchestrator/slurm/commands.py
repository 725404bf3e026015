"""Run Slurm's own programs and return what they print."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from typing import Protocol

from orchestrator.errors import LaunchError
from orchestrator.slurm.environment import command_environment
from orchestrator.util.text import printable

TIMEOUT = 20.0  # seconds: the programs wait 10 for a busy slurmctld


class Commands(Protocol):
    """Slurm's programs, on the machine where they run."""

    async def ask(self, *argv: str) -> str:
        """Return the output of one of Slurm's programs.

        Raises LaunchError, with its own words, if it fails, is not there, or does not answer in time.
        """

    def not_installed(self, program: str) -> LaunchError:
        """Return the error for a machine without that program."""


class LocalCommands:
    """Slurm's programs on this machine."""

    async def ask(self, *argv: str) -> str:
        """Return the output; a cancelled question is killed. Raises LaunchError."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe,
                env=command_environment(os.environ), start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise not_installed(argv[0]) from None
        except OSError as error:
            raise LaunchError(f"{argv[0]} cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(TIMEOUT):
                out, err = await process.communicate()
        except TimeoutError:
            raise _silent(argv[0]) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return answer(argv, process.returncode or 0, out, err)

    def not_installed(self, program: str) -> LaunchError:
        return not_installed(program)


def ask(*argv: str) -> str:
    """Return what `LocalCommands.ask` does, where nothing can be awaited. Raises LaunchError."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False,
            env=command_environment(os.environ),
        )  # fmt: skip
    except FileNotFoundError:
        raise not_installed(argv[0]) from None
    except OSError as error:
        raise LaunchError(f"{argv[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _silent(argv[0]) from None
    return answer(argv, done.returncode, done.stdout, done.stderr)


def answer(argv: Sequence[str], code: int, out: bytes, err: bytes) -> str:
    """Return the output of a program that has ended. Raises LaunchError if it has failed."""
    if code != 0:
        said = printable(err, 400) or printable(out, 400) or f"exit code {code}"
        raise LaunchError(f"{argv[0]}: {said.replace(f'{argv[0]}: error: ', '')}")
    return out.decode("utf-8", "replace")


def _silent(program: str) -> LaunchError:
    return LaunchError(
        f"{program} did not answer within {TIMEOUT:g} s",
        remedy="scontrol ping shows whether slurmctld answers",
    )


def not_installed(program: str) -> LaunchError:
    """Return the error for a machine without Slurm's programs."""
    return LaunchError(
        f"there is no {program} on this machine",
        remedy="run this command on a login node of the cluster, or in a job; or name a login node with "
        "--slurm-login",
    )


def job_here() -> str | None:
    """Return the id of the Slurm job that this process belongs to; None outside of jobs."""
    return os.environ.get("SLURM_JOB_ID") or None
