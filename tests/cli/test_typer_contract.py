"""The parts of Typer that orch uses and Typer does not document, which may change with any release.

Typer's messages are rewritten by `orchestrator.cli.usage`, which recognises them by their words.
"""

from __future__ import annotations

import inspect

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from orchestrator.cli.app import app
from orchestrator.errors import UsageError


def test_errors_of_a_command_line_have_one_base_with_a_context_and_a_message() -> None:
    base = typer.BadParameter.__base__
    assert base is not None
    assert base.__name__ == "UsageError"
    error = typer.BadParameter("no", param_hint="'--x'")
    assert isinstance(error, base)
    assert (error.ctx, error.format_message()) == (None, "Invalid value for '--x': no")


def test_methods_that_are_overridden_have_these_parameters() -> None:
    def parameters(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert parameters(TyperCommand.parse_args) == ["self", "ctx", "args"]
    assert parameters(TyperGroup.resolve_command) == ["self", "ctx", "args"]
    assert parameters(TyperGroup.invoke) == ["self", "ctx"]


def test_completion_is_installed_by_a_parameter_of_this_name() -> None:
    names = [parameter.name for parameter in get_command(app).params]
    assert "install_completion" in names


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("logs it --tail two", "--tail takes a whole number"),
        ("launch --local 0 t.py", "--local takes a number of at least 1"),
        ("runs --output txt", "--output txt: expected one of text, json; did you mean text?"),
        ("launch --nprocs 2 t.py", "orch launch has no option --nprocs; did you mean --nproc?"),
        ("launch", "SCRIPT is missing: orch launch [OPTIONS] SCRIPT ..."),
        ("logs it --tail", "--tail needs a value"),
        ("init a b c --zzzz", "orch init has no option --zzzz"),
        ("runs a b", "orch runs: unexpected words: a b"),
    ],
)
def test_message_of_typer_is_recognised(line: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_command(app).main(line.split(), prog_name="orch", standalone_mode=False)
    assert caught.value.message == says


def test_group_without_a_command_shows_its_help_by_an_error_of_this_name() -> None:
    with pytest.raises(Exception, match="Usage") as caught:
        get_command(app).main([], prog_name="orch", standalone_mode=False)
    assert type(caught.value).__name__ == "NoArgsIsHelpError"


def test_command_line_can_be_parsed_before_it_has_defaults() -> None:
    command = get_command(app).commands["launch"]  # type: ignore[attr-defined]
    context = command.context_class(command, info_name="launch", allow_interspersed_args=False)
    words = ["--nproc", "2", "-e", "A=1", "t.py", "--nproc", "3"]
    found = command.make_parser(context).parse_args(words)[0]
    given = {name: value for name, value in found.items() if value is not None}
    assert {name: given[name] for name in ("nproc", "env")} == {"nproc": "2", "env": ["A=1"]}
    assert "wait" not in given


def test_default_map_of_a_context_gives_what_is_not_typed() -> None:
    command = get_command(app).commands["logs"]  # type: ignore[attr-defined]
    context = command.context_class(command, info_name="logs")
    context.default_map = {"tail": 3, "rank": "1", "follow": True}
    command.parse_args(context, ["--rank", "2"])
    assert (context.params["tail"], context.params["rank"]) == (3, "2")
    assert context.params["follow"] is True


def test_values_that_need_no_conversion_are_not_given_to_pydantic() -> None:
    """Fails if Typer keeps its converters elsewhere: then each start builds those of all options."""
    command = get_command(app).commands["launch"]  # type: ignore[attr-defined]
    command.make_context("launch", ["--launcher", "direct", "t.py", "--epochs", "3"])
    converted = [p.name for p in command.params if type(p._runtime_param).__name__ != "_Conversion"]
    assert converted == []
    context = command.make_context("launch", ["--local", "2", "t.py"])
    assert context.params["local"] == 2
