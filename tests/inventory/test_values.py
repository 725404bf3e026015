"""Users and hosts are valid as on the command line of ssh."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory.values import is_shell_safe_user, is_valid_ssh_host, is_valid_ssh_user

SHELL = "'`\";&<>|(){}"


@pytest.mark.parametrize("char", [*SHELL, "\n", "\0", "\x7f"])
def test_user_with_shell_characters_is_refused(char: str) -> None:
    assert not is_valid_ssh_user(f"a{char}b")
    assert not is_shell_safe_user(f"a{char}b")


@pytest.mark.parametrize("char", [*SHELL, "$", "\\", ",", " ", "\t", "\n", "\0"])
def test_host_with_shell_characters_is_refused(char: str) -> None:
    assert not is_valid_ssh_host(f"a{char}b")


@pytest.mark.parametrize("user", ["-oProxyCommand=x", "a -b", "a\\", ""])
def test_user_that_looks_like_an_option_or_ends_in_a_backslash_is_refused(user: str) -> None:
    assert not is_valid_ssh_user(user)


@pytest.mark.parametrize("user", ["ann", "DOMAIN\\ann", "ann@corp", "a b", "jörg", "host$", "a/b"])
def test_user_that_ssh_accepts_is_valid(user: str) -> None:
    assert is_valid_ssh_user(user)


@pytest.mark.parametrize("user", ["$HOME", "*", "a?", "[a]", "~root", "#a", "../a", "a b"])
def test_user_that_a_shell_expands_is_not_shell_safe(user: str) -> None:
    assert not is_shell_safe_user(user)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8))
def test_shell_safe_user_is_one_word_to_a_shell(user: str) -> None:
    if is_shell_safe_user(user) and "\\" not in user:
        line = f'set -- {user}; printf "%s|%s" $# "$1"'
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, cwd="/")
        assert done.stdout == b"1|" + user.encode()
