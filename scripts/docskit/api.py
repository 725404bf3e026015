"""The Python API: every public name of the package."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import orchestrator


def api() -> Iterator[str]:
    """Yield every public name: its signature, its docstring, and a class's own methods and properties."""
    for name in sorted(orchestrator.__all__, key=lambda name: (name[0].isupper(), name)):
        value = getattr(orchestrator, name)
        yield f"## `{name}`\n"
        yield from _described(name, value)
        if inspect.isclass(value):
            for member, found in vars(value).items():
                if not member.startswith("_") and inspect.getdoc(found):
                    yield f"### `{name}.{member}`\n"
                    yield from _described(member, found)


def _described(name: str, value: object) -> Iterator[str]:
    if isinstance(value, classmethod):
        value = value.__func__
    if inspect.isfunction(value):
        prefix = "async def" if inspect.iscoroutinefunction(value) else "def"
        yield f"```python\n{prefix} {name}{_signature(value)}\n```\n"
    text = inspect.getdoc(value)
    if text:
        yield f"{text}\n"


def _signature(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    whole = str(signature).replace("'", "")
    if len(whole) < 90:
        return whole
    rows = []
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    for parameter in signature.parameters.values():
        is_first_keyword = parameter.kind is parameter.KEYWORD_ONLY and "*" not in rows
        if is_first_keyword and parameter.VAR_POSITIONAL not in kinds:
            rows.append("*")
        rows.append(str(parameter).replace("'", ""))
    return "(\n" + "".join(f"    {row},\n" for row in rows) + ")" + whole[whole.rindex(" -> ") :]
