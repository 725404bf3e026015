"""docs/signatures.md says what the table says."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.diagnose import SIGNATURES, Kind, Signature
from orchestrator.diagnose.signatures.exits import BY_SIGNAL

PAGE = (Path(__file__).parent.parent.parent / "docs/signatures.md").read_text(encoding="utf-8")


def entry(signature: Signature) -> str:
    follows = f", after {signature.after}" if signature.after else ""
    check = signature.check
    before = f" Checked before a launch by [`{check}`](preflight.md#{check})." if check else ""
    text = (
        f'### <a id="{signature.id}"></a>`{signature.id}`\n\n'
        f"*{signature.kind.name.lower()}{follows}*: {signature.meaning}.\n\n"
        f"Why: {signature.cause}. Do: {signature.fix}.{before}\n"
    )
    return re.sub("[{}]", "*", text)


def test_every_row_stands_on_the_page_as_it_is() -> None:
    assert [signature.id for signature in SIGNATURES if entry(signature) not in PAGE] == []


def test_the_page_has_no_row_that_is_gone() -> None:
    assert set(re.findall(r'<a id="(.*?)">', PAGE)) == {signature.id for signature in SIGNATURES}


def test_every_kind_is_explained() -> None:
    for kind in Kind:
        assert f"| `{kind.name.lower()}` |" in PAGE


def test_the_signals_of_crashes_are_in_the_table_of_exit_codes() -> None:
    for signal in (1, 2, 4, 6, 7, 9, 11, 15):
        assert signal in BY_SIGNAL
        assert f"| -{signal}, {128 + signal} |" in PAGE
