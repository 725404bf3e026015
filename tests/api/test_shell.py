"""What a node runs for a person: in a folder, with variables, word for word."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.shell import environment_of, script_for
from tests.preflight.contexts import make_context

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def run(script: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": "/usr/bin:/bin", **more}
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, env=environment)


@given(st.lists(TEXT, min_size=1, max_size=3), TEXT)
def test_shell_gets_words_and_variables_unchanged(words: list[str], value: str) -> None:
    script = script_for(["printf", "%s\\0", *words], environment={"SOME": value})
    assert run(script).stdout.decode() == "".join(f"{word}\0" for word in words)
    assert run(
        script_for(["sh", "-c", 'printf %s "$SOME"'], environment={"SOME": value})
    ).stdout == (value.encode())


def test_command_does_not_run_outside_the_folder_and_a_shell_does(tmp_path: Path) -> None:
    assert run(script_for(["pwd"], str(tmp_path))).stdout == f"{tmp_path}\n".encode()
    missing = run(script_for(["pwd"], str(tmp_path / "missing")))
    assert (missing.returncode, missing.stdout) == (125, b"")
    shell = run(script_for([], str(tmp_path / "missing")), SHELL="/bin/pwd")
    assert shell.returncode == 0


def test_script_for_refuses_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        script_for(["a\0b"])


def test_masked_values_are_left_out_and_named() -> None:
    node = make_context(1).plan.nodes[0]
    node = replace(node, environment={"A": "1", "TOKEN": "***", "URL": "http://u:***@h"})
    assert environment_of(node) == ({"A": "1"}, ["TOKEN", "URL"])
