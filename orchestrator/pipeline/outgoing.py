"""Look at the folder that goes to the nodes, and say what goes, before the first byte does."""

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

SYNC_LIMIT = 1_000_000_000
"""Bytes of a folder that goes to the nodes, unless the launch says otherwise."""

_NAMED = 4  # things that a warning names


async def survey_folder(source: Path, limit: int | None, emit: events.Emit) -> Tree:
    """Return what goes of the folder `source`, having told of it, and of what in it does not serve there.

    Raises SyncError where it is more than `limit` bytes (None: any number), or cannot be read.
    """
    tree = await asyncio.to_thread(collect, source)
    emit(events.Sending(tree.root, tree.count, tree.size))
    if limit is not None and tree.size > limit:
        raise _too_large(tree, limit)
    if tree.credentials:
        emit(events.Warned(_credentials(tree.credentials)))
    links = list(tree.links_out())
    if links:
        shown = first_few([printable(f"{link.path} -> {link.target}") for link in links], _NAMED)
        emit(
            events.Warned(
                f"{shown} {_leads(len(links))} out of the folder: on a node to what is there under that "
                "path, if anything is; copy it into the folder, or name the link in .orchignore"
            )
        )
    return tree


def warn_of_unsent_files(
    job: Job, source: Path | None, script: Path | None, emit: events.Emit
) -> None:
    """Tell of the files of this machine that the job names and that do not go with `source`."""
    if source is None:
        return
    source = Path(os.path.abspath(source))  # noqa: PTH100 - links in the path stay as the user wrote them
    start = source / job.folder
    found = list(unsent_arguments(source, start, Path.cwd(), job.arguments))
    if script is not None:
        found += unsent_in_script(source, start, script.absolute())
    for staying in found[:_NAMED]:
        emit(events.Warned(f"{staying.cause}; {staying.fix}"))
    if len(found) > _NAMED:
        emit(
            events.Warned(
                f"{len(found) - _NAMED:,} other files that the job names do not go either"
            )
        )


def _leads(count: int) -> str:
    return "leads" if count == 1 else "lead"


def _credentials(paths: Sequence[str]) -> str:
    """Return what was kept here, and how it would be sent."""
    one = len(paths) == 1
    named = first_few([printable(path) for path in paths], _NAMED)
    text = (
        f"{named} {'looks' if one else 'look'} like credentials and {'was' if one else 'were'} "
        f"not sent; !{printable(paths[0])} in .orchignore sends {'it' if one else 'the first'} all the same"
    )
    variables = [path for path in paths if path.rpartition("/")[2].startswith(".env")]
    if variables:
        text += (
            f"; --env-file {printable(variables[0])} gives the ranks its variables without a copy"
        )
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
        + ("   (what training writes, as a rule)" if large.is_output else "")
        for large in found
    ]
    lines = [f"    {large.line}" for large in found if large.line.isprintable()]
    what = f"leave out what the job does not need, with lines such as these in {root}/.orchignore"
    everything = f"    or send it all: --sync-limit {-(-tree.size // 10**9)}G (0: any size)"
    return SyncError("\n".join([head, *rows]), remedy="\n".join([what, *lines, everything]))
