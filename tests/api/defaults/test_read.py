"""A file of defaults gives values that the command takes, or one message with all that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.defaults.keys import KEYS, REFUSED
from orchestrator.api.defaults.read import Defaults, read_defaults
from orchestrator.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    for name in ("ORCH_CONFIG", "ORCH_PROFILE", "ORCH_INVENTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str, profile: str | None = None) -> Defaults:
    Path("orch.toml").write_text(text, encoding="utf-8")
    return read_defaults(profile)


def values(text: str, profile: str | None = None) -> dict[str, Any]:
    return {key: each.value for key, each in read(text, profile).settings.items()}


def fault(text: str, profile: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read(text, profile)
    return caught.value.message


def test_values_are_those_of_the_command_line() -> None:
    text = """
        inventory = "clusters/a.yaml"
        nproc = 8
        main-port = "auto"
        timeout = 7200
        stall = "10m"
        connect-timeout = 0.5
        sync-limit = "5G"
        sync = "src"
        fetch = ["checkpoints/", "*.csv"]
        wait = true
        elastic = "2:4"
        restarts = 0
        preflight = "full"
        env = {NCCL_DEBUG = "INFO", EMPTY = ""}
    """
    assert values(text) == {
        "inventory": "clusters/a.yaml", "nproc": "8", "main-port": "auto", "timeout": "7200",
        "stall": "10m", "connect-timeout": "0.500000", "sync-limit": "5G", "sync": "src",
        "fetch": ["checkpoints/", "*.csv"], "wait": True, "elastic": "2:4", "restarts": 0,
        "preflight": "full", "env": ["NCCL_DEBUG=INFO", "EMPTY="],
    }  # fmt: skip


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'inventory = "../hosts.yaml"\nsync = "."\nenv-file = "conf/vars"\n'
    read(text)
    (folder / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep/er")
    found = {key: each.value for key, each in read_defaults().settings.items()}
    assert found == {
        "inventory": "../../../hosts.yaml",
        "sync": "../..",
        "env-file": "../../conf/vars",
    }
    assert read_defaults().settings["sync"].place == "../../orch.toml:2:1"


def test_home_in_the_path_of_an_inventory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert values('inventory = "~/a.yaml"')["inventory"] == "/h/a.yaml"


# -- profiles ------------------------------------------------------------------------------------


PROFILES = """
inventory = "hosts.yaml"
nodes = "gpu[0-3]"
nproc = 2
env = {A = "base", B = "base"}

[profiles.a100]
nproc = 8
env = {A = "a100"}

[profiles.laptop]
local = 2
"""


def test_profile_overrides_key_by_key_and_variable_by_variable() -> None:
    assert values(PROFILES, "a100") == {
        "inventory": "hosts.yaml", "nodes": "gpu[0-3]", "nproc": "8", "env": ["A=a100", "B=base"],
    }  # fmt: skip


def test_hosts_of_a_profile_replace_the_hosts_and_their_selection() -> None:
    assert values(PROFILES, "laptop") == {"local": 2, "nproc": "2", "env": ["A=base", "B=base"]}


def test_profile_is_that_of_the_variable_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_PROFILE", "a100")
    assert read(PROFILES).profile == "a100"
    assert read(PROFILES, "laptop").profile == "laptop"
    assert read(PROFILES, "").profile is None
    assert read(PROFILES).profiles == ("a100", "laptop")


def test_unknown_profile_is_refused_with_the_ones_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fault(PROFILES, "a10") == (
        "--profile 'a10': orch.toml has no such profile; did you mean 'a100'?"
    )
    assert fault(PROFILES, "x") == (
        "--profile 'x': orch.toml has no such profile; it has 'a100', 'laptop'"
    )
    monkeypatch.setenv("ORCH_PROFILE", "h100")
    assert fault("") == "ORCH_PROFILE 'h100': orch.toml has no profiles"
    Path("orch.toml").unlink()
    with pytest.raises(UsageError, match="ORCH_PROFILE 'h100': there is no file of defaults here"):
        read_defaults()


# -- what is wrong -------------------------------------------------------------------------------


def test_all_faults_are_in_one_message_with_their_places() -> None:
    text = 'inventry = "a"\ntimeout = "5x"\n[profiles.a]\nnode_timeout = 3\nno-sync = 3\n[profiles]\nb = 1'
    expected = "a time of at least 0 s: seconds, or text such as 90s or 2h30m"
    assert fault(text).split("\n") == [
        "orch.toml: 5 problems",
        "orch.toml:1:1: inventry: there is no such key; did you mean 'inventory'?",
        f"orch.toml:2:1: timeout: expected {expected}; found '5x'",
        "orch.toml:4:1: node_timeout: there is no such key; did you mean 'node-timeout'?",
        "orch.toml:5:1: no-sync: expected true or false; found 3",
        "orch.toml:7:1: b: expected a table of defaults",
    ]


def test_place_in_pyproject_is_that_of_the_key() -> None:
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n[tool.orch]\n  main-port = 0\n")
    with pytest.raises(UsageError) as caught:
        read_defaults()
    assert caught.value.message == (
        "pyproject.toml:4:3: main-port: expected a number from 1 to 65535, or auto; found 0"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nproc = true", "expected a number of ranks, auto, or text as for --nproc"),
        ("nproc = 0", "such as gpu[0-3]=8,node1=4; found 0"),
        ("main-port = true", "expected a number from 1 to 65535, or auto; found true"),
        ('nproc = 2\ninclude = "a"', "nproc and include exclude each other"),
        ("restarts = 1.5", "expected a number from 0 to 1000; found 1.5"),
        ("stall = 0.5", "expected a time of at least 1 s"),
        ("timeout = nan", "expected a time of at least 0 s"),
        ("timeout = 2026-01-01", "found 2026-01-01"),
        ("sync-limit = []", "found a list"),
        ("launcher = {}", "expected the name of a launcher; found a table"),
        ('launcher = "a\\u001b[31m"', r"found 'a\x1b[31m'"),
        ('preflight = "ful"', "expected one of quick, full, off; found 'ful'"),
        ('fetch = "*.csv"', "expected a list of patterns"),
        ("fetch = [1]", "expected a list of patterns"),
        ('elastic = "4:2"', "expected two numbers of nodes, the smaller first"),
        ("env = {N = 1}", "env: N: expected text in quotes"),
        ('env = {"a b" = "x"}', "expected a variable's name"),
        ('sync = "."\nno-sync = true', "sync and no-sync exclude each other"),
        ("local = 2", "stands in a profile only, which is chosen by name"),
        ("accept-new = true", "accept-new: cannot be set in a file: whether to trust"),
        ("[tool.orch]", "in orch.toml the keys stand at the top, without [tool.orch]"),
        ("max_restarts = 3", "did you mean 'restarts'?"),
        ('hostfile = "x"', "did you mean 'inventory'?"),
        ("zzz = 1", "there is no such key; `orch config` lists them"),
        ("profiles = 1", "profiles: expected a table for each profile"),
        ("[profiles.a.profiles.b]", "profiles: there is no such key"),
        ('[profiles.a]\nslurm = "-N2 --gres=gpu:8 --output x"', "'--output' does not choose nodes"),
        ("[profiles.a]\nslurm = \"-N '\"", "expected options of sbatch that choose nodes"),
    ],
)  # fmt: skip
def test_wrong_key_or_value_is_refused(text: str, says: str) -> None:
    message = fault(text)
    assert says in message
    assert message.isprintable()


def test_secret_of_a_variable_is_not_shown() -> None:
    text = f'env = {{API_KEY = "{"x" * 200_000}"}}'
    assert fault(text).startswith("orch.toml:1:1: env: API_KEY: 200,000 bytes are more")
    assert read('env = {API_KEY = "hunter2"}').settings["env"].shown == "API_KEY=***"


def test_thousands_of_faults_end_in_one_short_message() -> None:
    assert fault("".join(f"k{n} = 1\n" for n in range(5000))).count("\n") == 100


# -- what a file of someone else must not do -----------------------------------------------------


@pytest.mark.parametrize("key", REFUSED)
def test_refused_key_says_why(key: str) -> None:
    assert f"orch.toml:1:1: {key}: cannot be set in a file: {REFUSED[key]}" == fault(f"{key} = 1")


@pytest.mark.parametrize("key", ["sync", "env-file"])
@pytest.mark.parametrize("path", ["..", "/etc/passwd", "a/../../x", "link", "link/x"])
def test_path_out_of_the_folder_of_the_file_is_refused(folder: Path, key: str, path: str) -> None:
    (folder / "link").symlink_to("/etc")
    assert "is outside of the folder of this file" in fault(f'{key} = "{path}"')
    assert values(f'{key} = "a/../b"')[key] == "b"


def test_path_that_is_checked_is_the_one_that_is_used(folder: Path) -> None:
    (folder / "d/e").mkdir(parents=True)
    (folder / "a").symlink_to("d/e")
    (folder / "b").symlink_to("/etc")
    assert values('sync = "a/../b"')["sync"] == "d/b"  # what the kernel takes it for


@pytest.mark.parametrize(("head", "mode"), [(b"#!/bin/sh\n", 0o755), (b"\x7fELF", 0o700)])
def test_inventory_that_is_a_program_is_refused(folder: Path, head: bytes, mode: int) -> None:
    (folder / "hosts").write_bytes(head)
    assert values('inventory = "hosts"')  # not executable: it is read
    (folder / "hosts").chmod(mode)
    assert "'hosts' is a program" in fault('inventory = "hosts"')


toml_values = st.recursive(
    st.sampled_from(['""', '"a"', "1", "-1", "1.5", "inf", "true", "2026-01-01", '"\\u0000"', '"2:4"']),
    lambda inner: st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
    | inner.map(lambda each: f'{{a = {each}, "" = {each}}}'),
    max_leaves=4,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from([*KEYS, *REFUSED, "profiles", "x"]), toml_values, max_size=6),
    st.booleans(),
)
def test_any_file_is_read_or_refused_in_printable_lines(
    content: dict[str, str], in_profile: bool
) -> None:
    text = "[profiles.a]\n" * in_profile + "".join(f"{k} = {v}\n" for k, v in content.items())
    try:
        read(text, "a" if in_profile else None)
    except UsageError as error:
        assert all(line.isprintable() for line in error.message.split("\n"))
        assert error.message.startswith("orch.toml:")
