"""What the commands have in common: the options of their log, help in groups, and groups of options."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand
from typer.main import get_command

from orchestrator.cli import complete, file_defaults
from orchestrator.cli.usage import help_of, write_group

_VERBOSITY, _FILE = "orchestrator.verbosity", "orchestrator.log_file"
# The order of the groups in help; an option is in the group that its `rich_help_panel` names.
_GROUPS = (
    "Arguments", "Options", "What runs", "Where", "Files", "Start", "Checks", "Which lines",
    "Logs and output", "Failure", "Launchers", "More",
)  # fmt: skip

_PLAIN = (str, int, float, bool)

# How Typer shows the limits of a number.
_RANGE = re.compile(r"; [\d<=]*x[<>=\d]+|  \[[\d<=]*x[<>=\d]+\]")


def _add_verbosity(context: typer.Context, value: int) -> int:
    """Add what was typed here to what was typed before the command."""
    context.meta[_VERBOSITY] = context.meta.get(_VERBOSITY, 0) + value
    return value


def _set_log_file(context: typer.Context, value: Path | None) -> Path | None:
    """Keep the file; the last one counts."""
    if value is not None:
        context.meta[_FILE] = value
    return value


def verbose_option(help_text: str, **more: Any) -> Any:
    """Return the option -v of a command."""
    return typer.Option(
        "--verbose",
        "-v",
        count=True,
        callback=_add_verbosity,
        show_default=False,
        help=help_text,
        **more,
    )


Verbose = Annotated[
    int,
    verbose_option(
        "Log to stderr what orch does; -vv: every step.",
        expose_value=False,
        rich_help_panel="More",
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        callback=_set_log_file,
        expose_value=False,
        help="Append a log of every step to FILE, as of -vv.",
        rich_help_panel="More",
    ),
]


Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Use this profile of orch.toml or [tool.orch].  [default: $ORCH_PROFILE]",
        expose_value=False,
        rich_help_panel="More",
        autocompletion=complete.profiles,
    ),
]


def _declare(profile: Profile = None, verbose: Verbose = 0, log_file: LogFile = None) -> None:
    """The options that commands have in common, for Typer to read."""


@cache
def _common_options() -> list[Any]:
    """Return --profile and the options of a log, as Typer makes them of their declarations."""
    declared = typer.Typer(add_completion=False)
    declared.command()(_declare)
    return get_command(declared).params


class _Conversion:
    """Converts the value of one parameter; leaves to Typer what is no text, no default and no absent value.

    Typer builds a validator of pydantic for each parameter, which for all options of `orch launch` takes
    longer than connecting to ten nodes.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        is_list = param.multiple or param.nargs == -1
        if value is None:
            return () if is_list else None
        kind = param.type_descriptor.annotation
        if type(value) in _PLAIN and not is_list and value == param.default:
            return value
        if kind is str and type(value) is str and not is_list:
            return value
        if kind == list[str] and type(value) in (list, tuple) and set(map(type, value)) <= {str}:
            return list(value)
        param._runtime_param = None  # Typer makes its own
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


class Command(TyperCommand):
    """A command with the options of a log, help in groups, and the defaults of a file for its hosts."""

    takes_every_default = False
    """Whether a file of defaults sets all options, not only those on hosts and the job."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        own = {name for parameter in self.params for name in parameter.opts}
        self._takes_defaults = "--inventory" in own
        for option in _common_options():
            is_wanted = self._takes_defaults or option.name != "profile"
            if is_wanted and own.isdisjoint(option.opts):
                self.params.append(option)
        parameters: list[Any] = self.params
        for parameter in parameters:
            parameter._runtime_param = _Conversion()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not self._takes_defaults:
            return super().parse_args(ctx, args)
        file_defaults.take_defaults(self, ctx, args, every_option=self.takes_every_default)
        left = super().parse_args(ctx, args)
        file_defaults.finish(ctx)
        return left

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def get_help(self, ctx: Any) -> str:
        return help_of(super().get_help, ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name = record[0].partition(" <")[0] if _is_argument(parameter) else record[0]
                help_text = file_defaults.marked(ctx, parameter, _RANGE.sub("", record[1]))
                row = (name, help_text)
                groups.setdefault(_group_of(parameter), []).append(row)
            if "--launcher" in parameter.opts:
                groups["Launchers"] = _launchers()
        for group in sorted(groups, key=_GROUPS.index):
            write_group(group, groups[group], formatter)

    def invoke(self, ctx: Any) -> Any:
        verbosity, file = ctx.meta.get(_VERBOSITY, 0), ctx.meta.get(_FILE)
        if verbosity or file is not None:
            from orchestrator.ui.log import log_to_file, log_to_stderr

            if verbosity:
                log_to_stderr(verbosity)
            if file is not None:
                log_to_file(file)
        if (text := file_defaults.describe(ctx)) is None:
            return super().invoke(ctx)
        from orchestrator.errors import UsageError
        from orchestrator.ui.stderr import Stderr
        from orchestrator.util.log import logger

        logger("defaults").info("%s", text)
        is_shown = bool(ctx.params.get("dry_run"))
        if is_shown:
            Stderr().line(text)
        try:
            return super().invoke(ctx)
        except UsageError:  # perhaps of an option that was not typed
            if not is_shown and not verbosity:
                Stderr().line(text)
            raise


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _group_of(parameter: Any) -> str:
    if _is_argument(parameter):
        return "Arguments"
    group = getattr(parameter, "rich_help_panel", None)
    return str(group or ("More" if "--help" in parameter.opts else "Options"))


def _launchers() -> list[tuple[str, str]]:
    from orchestrator.api.names import launchers

    found, default = launchers()
    mark = {default: " (default)"}
    return [(name, f"{help_text}{mark.get(name, '')}") for name, help_text in found.items()]


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that gives each parameter of `function` that is a dataclass its fields' options."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for name, parameter in signature(function).parameters.items():
        if name in groups:
            own = get_type_hints(groups[name], include_extras=True)
            parameters += [
                Parameter(
                    each.name,
                    Parameter.KEYWORD_ONLY,
                    default=each.default,
                    annotation=own[each.name],
                )
                for each in fields(groups[name])
            ]
        else:
            parameters.append(
                parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])
            )

    @wraps(function)
    def command(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
        function(**values)

    command.__annotations__ = {}
    command.__dict__["__signature__"] = Signature(parameters)
    return command
