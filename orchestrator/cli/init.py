"""`orch init`: a first inventory, from the names of the hosts."""

from __future__ import annotations

from typing import Annotated

import typer


def init(
    hosts: Annotated[
        list[str],
        typer.Argument(
            metavar="HOST",
            help="As ssh takes it: node0, user@10.0.0.16, node1:2222; or a range: 'gpu[01-04]'. "
            "The first host is the main node.",
            show_default=False,
        ),
    ],
    user: Annotated[
        str | None, typer.Option(metavar="USER", help="Log in as USER.  [default: as ssh does]")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="The nodes' Python that has torch.  [default: their python3]"
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write to FILE; - is stdout.")
    ] = "hosts.yaml",
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Write an inventory of these hosts, for you to extend.

    \b
    Examples:
      orch init node0 node1
      orch init --user ubuntu --python /opt/venv/bin/python 10.10.10.16 'gpu[01-04]'
      orch init -o - 'ubuntu@gpu[01-64].lan:2222'
    """
    import sys
    from pathlib import Path

    from orchestrator.errors import UsageError
    from orchestrator.inventory.draft import draft
    from orchestrator.ui.messages import INDENT
    from orchestrator.ui.stderr import Stderr
    from orchestrator.util.quoting import command_line

    text = draft(hosts, user, python)
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        with Path(output).open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"{output} exists already", remedy="--force replaces it, -o FILE writes another"
        ) from None
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror}") from None
    option = [] if output == "hosts.yaml" else ["-i", output]
    Stderr().line(
        f"{output} is written; next:\n"
        f"{INDENT}{command_line(['orch', 'nodes', *option])}\n"
        f"{INDENT}{command_line(['orch', 'launch', *option, '--dry-run', 'train.py'])}"
    )
