"""What is wrong with a command line is one sentence, whatever the words of the library for it."""

from __future__ import annotations

import pytest

from orchestrator.cli.usage import sentence


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            "Invalid value for '--tail' / '-n': Input should be a valid integer, unable to parse it",
            "--tail takes a whole number",
        ),
        (
            "Invalid value for '--local': 'two' is not a valid integer.",
            "--local takes a whole number",
        ),
        (
            "Invalid value for '--local': Input should be greater than or equal to 1",
            "--local takes a number of at least 1",
        ),
        (
            "Invalid value for '--output': 'txt' is not one of 'text', 'json', 'raw'.",
            "--output txt: expected one of text, json, raw; did you mean text?",
        ),
        ("Invalid value for '--x': something else", "--x: something else"),
        ("No such option: --frobnicate", "orch launch has no option --frobnicate"),
        (
            "No such option: --nprocs (Possible options: --nodes, --nproc)",
            "orch launch has no option --nprocs; did you mean --nproc?",
        ),
        ("Missing argument 'SCRIPT'.", "SCRIPT is missing: orch launch [OPTIONS] SCRIPT ..."),
        ("Option '--tail' requires an argument.", "--tail needs a value"),
        ("Got unexpected extra argument (b)", "orch launch: unexpected words: b"),
        ("Something that is not known yet.", "Something that is not known yet."),
    ],
)
def test_message_of_the_library_becomes_a_sentence(message: str, says: str) -> None:
    assert sentence(message, "orch launch") == says
