"""HTML elements: everything is escaped, nothing is loaded or runs, and tags are balanced."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.html import block, bold, code, details, document, line, table, text

VOID = {"br"}
ALLOWED = {
    "div", "span", "b", "code", "pre", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'single' \x1b[31m \u202e \x00 $x^2$"


class Reader(HTMLParser):
    """Collects the text of a document, and refuses what this package must not write."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        assert {name for name, _ in attrs} <= {"style", "class"}
        assert not any("url" in (value or "") for _, value in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str | None) -> str:
    """Return the text of a document. Fails if it has an unknown tag, an event handler, or a link."""
    assert markup is not None
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.open == []
    return reader.text


def everything(content: str) -> str:
    return document(
        line("a ", bold(content), text(content, "bad")),
        table((content, "B"), [(content, code(content))]),
        details(content, block([content, content])),
    )


def test_hostile_text_is_escaped_and_controls_are_replaced() -> None:
    shown = read(everything(HOSTILE))
    assert (
        shown.count("<script>alert(1)</script> & \"quotes\" 'single' \ufffd[31m \ufffd \ufffd") == 8
    )


@given(st.text())
def test_any_text_makes_balanced_elements_with_all_its_printable_characters(content: str) -> None:
    expected = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in content)
    assert expected in read(document(content))
    read(everything(content))


def test_long_text_is_cut() -> None:
    assert len(read(document("x" * 10**6))) == 20_001


def test_table_without_rows_is_empty() -> None:
    assert read(document(table(("A", "B"), []))) == ""
