"""Inspect the folder that is copied to the nodes, and report what will be sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator import events
from orchestrator.errors import SyncError
from orchestrator.plan import Job
from orchestrator.sync import Tree, collect
from orchestrator.sync.largest import largest
from orchestrator.sync.unsent import unsent_arguments, unsent_in_script
from orchestrator.util.text import first_few, format_size, printable

_MAX_NAMES = 4  # in a warning


async def survey_folder(source: Path, limit: int | None, emit: events.Emit) -> Tree:
    """Return the tree of the folder `source`; emit what is sent, and warnings.

    Raises SyncError if it is larger than `limit` bytes (None: no limit), or cannot be read.
    """
    tree = await asyncio.to_thread(collect, source)
    emit(events.Sending(tree.root, tree.count, tree.size))
    if limit is not None and tree.size > limit:
        raise _too_large(tree, limit)
    if tree.credentials:
        emit(events.Warned(_credentials(tree.credentials)))
    links = [printable(f"{link.path} -> {link.target}") for link in tree.links_out()]
    if links:
        verb = "leads" if len(links) == 1 else "lead"
        message = (
            f"{first_few(links, _MAX_NAMES)} {verb} out of the folder: on a node to what is under that "
            "path there, if anything; copy it into the folder, or name the link in .orchignore"
        )
        emit(events.Warned(message))
    return tree


def warn_of_unsent_files(
    job: Job, source: Path | None, script: Path | None, emit: events.Emit
) -> None:
    """Warn about local files that the job names but that are not sent with `source`."""
    if source is None:
        return
    source = Path(os.path.abspath(source))  # noqa: PTH100 - links in the path stay as the user wrote them
    start = source / job.folder
    found = list(unsent_arguments(source, start, Path.cwd(), job.arguments))
    if script is not None:
        found += unsent_in_script(source, start, script.absolute())
    for file in found[:_MAX_NAMES]:
        emit(events.Warned(f"{file.cause}; {file.fix}"))
    if (more := len(found) - _MAX_NAMES) > 0:
        emit(events.Warned(f"{more:,} other files that the job names are not sent either"))


def _credentials(paths: Sequence[str]) -> str:
    """Return the warning about files that were not sent, and how to send them."""
    one = len(paths) == 1
    named = first_few([printable(path) for path in paths], _MAX_NAMES)
    text = (
        f"{named} {'looks' if one else 'look'} like credentials and {'was' if one else 'were'} not sent; "
        f"to send {'it' if one else 'the first'} anyway, put !{printable(paths[0])} into .orchignore"
    )
    variables = [path for path in paths if path.rpartition("/")[2].startswith(".env")]
    if variables:
        text += f"; --env-file {printable(variables[0])} sets its variables without a copy"
    return text


def _too_large(tree: Tree, limit: int) -> SyncError:
    root = printable(str(tree.root))
    found = largest(tree)
    head = (
        f"{root} has {tree.count:,} files of {format_size(tree.size)}, more than the "
        f"{format_size(limit)} of --sync-limit; nothing was sent. Most of it is"
    )
    rows = [
        f"    {format_size(large.size):>9}  {printable(large.path)}"
        + ("   (probably output of training)" if large.is_output else "")
        for large in found
    ]
    lines = [f"    {large.line}" for large in found if large.line.isprintable()]
    what = f"leave out what the job does not need, with lines such as these in {root}/.orchignore"
    everything = f"    or send it all: --sync-limit {-(-tree.size // 10**9)}G (0: any size)"
    return SyncError("\n".join([head, *rows]), remedy="\n".join([what, *lines, everything]))
