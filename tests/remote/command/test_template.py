"""The option `command` of the transport of the same name."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.inventory import Host
from orchestrator.remote.command.template import Template
from orchestrator.remote.ssh.script import command_for

HOST = Host(name="n", address="10.0.0.1", user="ann", port=22)


def test_fill_inserts_each_value_in_whole() -> None:
    words = ["docker", "exec", "-i", "-u{user}", "{name}", "sh", "-c", "{script}"]
    filled = Template(words).fill(HOST, "echo '$x'; {name}")
    assert filled == ["docker", "exec", "-i", "-uann", "n", "sh", "-c", "echo '$x'; {name}"]


def test_fill_leaves_other_braces() -> None:
    words = [
        "x",
        "--format={{.ID}}",
        '{"a": 1}',
        "${HOME}",
        "{}",
        "--to={address}:{port}",
        "{script}",
    ]
    filled = Template(words).fill(HOST, ":")
    assert filled == ["x", "--format={{.ID}}", '{"a": 1}', "${HOME}", "{}", "--to=10.0.0.1:22", ":"]


def test_numbers_and_booleans_are_words() -> None:
    assert Template(["x", 1000, 2.5, True, "{script}"]).fill(HOST, ":")[1:4] == [
        "1000",
        "2.5",
        "true",
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (None, "is a list of a program and its arguments"),
        ("docker exec", "is a list of a program and its arguments"),
        ([], "is a list of a program and its arguments"),
        (["{script}"], "is a list of a program and its arguments"),
        (["", "{script}"], "first word is a program"),
        (["-x", "{script}"], "first word is a program"),
        (["x"], r"exactly one \{script\}"),
        (["x", "{script}", "{script}"], r"exactly one \{script\}"),
        (["x", "{script} {quoted_script}"], r"exactly one \{script\}"),
        (["x", "{host}", "{script}"], r"no placeholder is called \{host\}; there are \{name\}"),
        (["x", ["{script}"]], r"each word of command is text, not \['"),
        (["x", None, "{script}"], "each word of command is text, not None"),
        (["x", "\0", "{script}"], "each word of command is text"),
    ],
)
def test_other_lists_are_refused(words: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Template(words)


@pytest.mark.parametrize("key", ["user", "port"])
def test_fill_for_a_host_without_the_value_is_refused(key: str) -> None:
    template = Template(["x", f"{{{key}}}", "{script}"])
    with pytest.raises(
        UsageError, match=f"n has no {key}, which {{{key}}} in the transport's"
    ) as it:
        template.fill(Host(name="n"), ":")
    assert f"set `{key}:` of n" in str(it.value.remedy)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_quoted_script_survives_a_program_that_joins_its_words(text: str) -> None:
    """`sh -c "$*"` joins its words with blanks for another shell, as ssh does."""
    template = Template(["sh", "-c", 'sh -c "$*"', "joins", "sh", "-c", "{quoted_script}"])
    argv = template.fill(HOST, command_for(f"printf %s {shlex.quote(text)}"))
    done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == text
