"""`orch init`: a first inventory, from the names of the hosts."""

from __future__ import annotations

from typing import Annotated

import typer


def init(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST",
            help="As ssh takes it: node0, user@10.0.0.16, node1:2222; or a range: 'gpu[01-04]'. "
            "The first host is the main node.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="SOURCE", help="Write the hosts of this list instead, as -i takes it."
        ),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(metavar="SEL", help="With --from: only these hosts, as for orch launch."),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(metavar="SEL", help="With --from: all hosts but these."),
    ] = None,
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
      orch init --from hostfile
      orch init --from inventory/ --nodes @gpu
    """
    import sys
    from pathlib import Path

    from orchestrator.cli.options import show_format
    from orchestrator.errors import UsageError
    from orchestrator.inventory import load
    from orchestrator.inventory.draft import draft
    from orchestrator.inventory.select import select
    from orchestrator.inventory.written import as_yaml
    from orchestrator.ui.messages import INDENT
    from orchestrator.ui.stderr import Stderr
    from orchestrator.util.quoting import command_line

    if (source is None) == (not hosts):
        raise UsageError("expected hosts, or --from SOURCE", remedy="orch init node0 node1")
    if source is not None and (user, python) != (None, None):
        raise UsageError("--from excludes --user and --python: they are those of SOURCE")
    if source is None and (nodes, exclude) != (None, None):
        raise UsageError("--nodes and --exclude go with --from SOURCE")
    text = (
        draft(hosts or [], user, python)
        if source is None
        else as_yaml(select(load(source, show_format), nodes, exclude))
    )
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
