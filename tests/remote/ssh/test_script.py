"""A script arrives unchanged in any login shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.remote.ssh.script import command_for

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "fish", "tcsh") if shutil.which(shell)]

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
delicate = st.text("'\"\\!%$`\n\t ~#&|;<>(){}[]*?^=é\x7f01", max_size=30)


def through(shell: str, script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([shell, "-c", command_for(script)], capture_output=True, timeout=20)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None)
@given(text=words | delicate)
def test_script_with_any_text_arrives_unchanged(shell: str, text: str) -> None:
    result = through(shell, f"printf %s {shlex.quote(text)}")
    assert result.stdout == text.encode()
    assert result.returncode == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_script_runs_as_under_plain_sh(shell: str) -> None:
    script = (
        'cat <<\'E\'\n  it\'s \\ 100%041 !x $HOME\nE\nprintf \'%s|\' "$0" "$#" "$IFS"\nexit 7\n'
    )
    plain = subprocess.run(["/bin/sh", "-c", script], capture_output=True)
    result = through(shell, script)
    assert (result.stdout, result.returncode) == (plain.stdout, 7)


@pytest.mark.parametrize("shell", SHELLS)
def test_standard_input_is_passed_to_the_script(shell: str) -> None:
    result = subprocess.run(
        [shell, "-c", command_for("cat")], input=b"\0\xff\n", capture_output=True
    )
    assert result.stdout == b"\0\xff\n"


def test_script_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        command_for("echo \0")


def test_script_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        command_for("x" * 200_000)
