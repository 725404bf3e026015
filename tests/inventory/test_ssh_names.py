"""Users and hosts that ssh refuses on its command line are refused here, and no others."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory.ssh_names import is_host_for_ssh, is_plain_user, is_user_for_ssh

SHELL = "'`\";&<>|(){}"


@pytest.mark.parametrize("char", [*SHELL, "\n", "\0", "\x7f"])
def test_user_with_shell_characters_is_refused(char: str) -> None:
    assert not is_user_for_ssh(f"a{char}b")
    assert not is_plain_user(f"a{char}b")


@pytest.mark.parametrize("char", [*SHELL, "$", "\\", ",", " ", "\t", "\n", "\0"])
def test_host_with_shell_characters_is_refused(char: str) -> None:
    assert not is_host_for_ssh(f"a{char}b")


@pytest.mark.parametrize("user", ["-oProxyCommand=x", "a -b", "a\\", ""])
def test_user_that_looks_like_an_option_or_ends_in_a_backslash_is_refused(user: str) -> None:
    assert not is_user_for_ssh(user)


@pytest.mark.parametrize("user", ["ann", "DOMAIN\\ann", "ann@corp", "a b", "jörg", "host$", "a/b"])
def test_user_that_ssh_takes_is_taken(user: str) -> None:
    assert is_user_for_ssh(user)


@pytest.mark.parametrize("user", ["$HOME", "*", "a?", "[a]", "~root", "#a", "../a", "a b"])
def test_user_that_is_more_than_a_word_to_a_shell_is_not_plain(user: str) -> None:
    assert not is_plain_user(user)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8))
def test_plain_user_is_one_word_to_a_shell_whatever_it_is(user: str) -> None:
    if is_plain_user(user) and "\\" not in user:
        line = f'set -- {user}; printf "%s|%s" $# "$1"'
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, cwd="/")
        assert done.stdout == b"1|" + user.encode()
