"""HTML of values for a notebook: elements whose text is always escaped.

Colours are mixed from the text colour of the page, so they are readable in a light and in a dark theme.
Where styles are removed (GitHub, untrusted notebooks), tables and bold text remain. There is no script, and
nothing is loaded.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GOOD, BAD, WARNING, DIM = "good", "bad", "warning", "dim"

_STYLES = {
    GOOD: "color:color-mix(in srgb,currentColor 45%,#0a0)",
    BAD: "color:color-mix(in srgb,currentColor 35%,#f00)",
    WARNING: "color:color-mix(in srgb,currentColor 45%,#e80)",
    DIM: "opacity:.75",
}
_FRAME = "max-width:100%;line-height:1.4"
_SCROLL = "max-width:100%;overflow-x:auto"
_CELL = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;"
_WRAP = "white-space:normal;overflow-wrap:anywhere;min-width:5em"
_PRE = (
    "margin:4px 0;padding:4px 8px;border-left:2px solid;opacity:.9;"
    "white-space:pre-wrap;overflow-wrap:anywhere;background:none;color:inherit"
)
_MAX_TEXT = 20_000  # characters of one text


@dataclass(frozen=True)
class Html:
    """A piece of HTML; only this module makes it."""

    markup: str


Content = str | Html
"""Text, which will be escaped, or HTML."""


def fragment(*parts: Content) -> Html:
    """Return the parts one after the other."""
    return Html("".join(map(_markup, parts)))


def text(content: str, look: str = "") -> Html:
    """Return text on the line, in one of the looks: GOOD, BAD, WARNING, DIM, or empty for none."""
    return _element("span", content, _STYLES.get(look, ""))


def bold(content: Content) -> Html:
    """Return bold text."""
    return _element("b", content)


def code(content: str) -> Html:
    """Return a command or a name as code, on the line."""
    return _element("code", content, "white-space:pre-wrap;overflow-wrap:anywhere")


def line(*parts: Content) -> Html:
    """Return the parts as one paragraph, which wraps."""
    return _element("div", fragment(*parts), "overflow-wrap:anywhere")


def block(lines: Iterable[str]) -> Html:
    """Return lines of output in a fixed-width font; long ones wrap."""
    return _element("pre", "\n".join(lines), _PRE)


def details(summary: str, *parts: Content) -> Html:
    """Return parts that are folded behind a summary."""
    return Html(
        f"<details><summary>{_escaped(summary)}</summary>{fragment(*parts).markup}</details>"
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[Content]]) -> Html:
    """Return a table, empty without rows; the last column wraps. A narrow page scrolls it."""
    body = "".join(_row("td", row) for row in rows)
    if not body:
        return Html("")
    head = f"<thead>{_row('th', titles)}</thead>" if titles else ""
    inner = Html(f'<table style="border-collapse:collapse">{head}<tbody>{body}</tbody></table>')
    return _element("div", inner, _SCROLL)


def document(*parts: Content) -> str:
    """Return the HTML of one value, for `_repr_html_`.

    Its classes keep a notebook from typesetting text between dollar signs as mathematics.
    """
    inner = fragment(*parts).markup
    return f'<div class="tex2jax_ignore mathjax_ignore" style="{_FRAME}">{inner}</div>'


def _row(tag: str, cells: Sequence[Content]) -> str:
    last = len(cells) - 1
    made = (
        _element(tag, cell, _CELL + (_WRAP if number == last else "white-space:nowrap"))
        for number, cell in enumerate(cells)
    )
    return f"<tr>{fragment(*made).markup}</tr>"


def _element(tag: str, content: Content, style: str = "") -> Html:
    attribute = f' style="{style}"' if style else ""
    return Html(f"<{tag}{attribute}>{_markup(content)}</{tag}>")


def _markup(content: Content) -> str:
    return content.markup if isinstance(content, Html) else _escaped(content)


def _escaped(content: str) -> str:
    """Return text as HTML; characters that control a terminal or the direction of text are replaced."""
    if len(content) > _MAX_TEXT:
        content = f"{content[:_MAX_TEXT]}…"
    if not content.isprintable():
        content = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in content)
    return html.escape(content)
