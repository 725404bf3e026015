"""What a command line gets from a file of defaults, and what `orch config` shows of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from orchestrator.api.defaults.keys import KEYS, REFUSED
from orchestrator.api.hosts import DefaultInventory
from orchestrator.cli.app import app
from orchestrator.cli.file_defaults import key_of
from orchestrator.errors import UsageError

from .orch import Complete, Orch

FILE = """\
inventory = "hosts.yaml"
nodes = "gpu[0-3]"
timeout = "2h"
wait = true
no-sync = true
env = {A = "file", B = "file"}
fetch = ["checkpoints/"]

[profiles.queue]
slurm = "-N 4"
slurm-login = "login1"

[profiles.laptop]
local = 2
nproc = 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; the file of defaults is above it."""
    for name in ("ORCH_CONFIG", "ORCH_PROFILE", "ORCH_INVENTORY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "orch.toml").write_text(FILE)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    return tmp_path / "sub"


def command(name: str) -> Any:
    return get_command(app).commands[name]  # type: ignore[attr-defined]


def parsed(line: str) -> dict[str, Any]:
    """Return the values that a command gets for a command line, without those that are not set."""
    name, *words = line.split()
    context = command(name).make_context(name, words)
    return {key: value for key, value in context.params.items() if value not in (None, [], False)}


def test_every_option_of_launch_is_a_key_or_refused_with_a_reason() -> None:
    options = [each for each in command("launch").params if each.param_type_name == "option"]
    names = {key_of(each) for each in options}
    assert set(KEYS) | set(REFUSED) == names
    assert set(KEYS) & set(REFUSED) == set()


def test_launch_gets_what_the_file_sets(folder: Path) -> None:
    values = parsed("launch t.py")
    assert values["hosts"] == DefaultInventory("../hosts.yaml", "../orch.toml:1:1")
    assert os.fspath(values["hosts"]) == "../hosts.yaml"
    assert (values["nodes"], values["timeout"], values["wait"]) == ("gpu[0-3]", "2h", True)
    assert (values["no_sync"], values["fetch"]) == (True, ["checkpoints/"])
    assert values["env"] == ["A=file", "B=file"]
    assert values["grace"] == "3s"


@pytest.mark.parametrize(
    ("typed", "without", "with_"),
    [
        ("--timeout 1h", (), {"timeout": "1h", "wait": True}),
        ("--no-wait", ("wait",), {"timeout": "2h"}),
        ("--sync .", ("no_sync",), {"sync": Path()}),
        ("--local 2", ("hosts", "nodes"), {"local": 2}),
        ("-i other.yaml", ("nodes",), {"hosts": "other.yaml"}),
        ("--nodes gpu0", (), {"nodes": "gpu0"}),
        ("-e A=typed -e C=1", (), {"env": ["A=file", "B=file", "A=typed", "C=1"]}),
        ("--fetch *.csv", (), {"fetch": ["*.csv"]}),
        ("--profile laptop", ("hosts", "nodes"), {"local": 2, "nproc": "2", "timeout": "2h"}),
        ("--profile laptop --nproc 3", (), {"local": 2, "nproc": "3"}),
        ("--profile laptop --include local0", ("nproc",), {"local": 2, "include": "local0"}),
        ("--profile queue --slurm -N2", ("hosts",), {"slurm": "-N2", "slurm_login": "login1"}),
        ("--profile queue --local 1", ("slurm", "slurm_login"), {"local": 1}),
        ("--profile laptop -i a.yaml", ("local", "nodes"), {"hosts": "a.yaml", "nproc": "2"}),
    ],
)
def test_command_line_overrides_the_file(
    folder: Path, typed: str, without: tuple[str, ...], with_: dict[str, Any]
) -> None:
    values = parsed(f"launch {typed} t.py")
    assert {name: values.get(name) for name in with_} == with_
    assert not set(without) & set(values)


def test_options_after_the_script_are_the_scripts(folder: Path) -> None:
    values = parsed("launch t.py --timeout 1h --profile laptop")
    assert (values["timeout"], values["arguments"]) == (
        "2h", ["--timeout", "1h", "--profile", "laptop"],
    )  # fmt: skip
    assert "local" not in values


def test_variable_of_the_inventory_overrides_that_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_INVENTORY", "/other.yaml")
    values = parsed("launch t.py")
    assert not {"hosts", "nodes"} & set(values)
    assert values["timeout"] == "2h"
    assert parsed("launch --profile laptop t.py")["local"] == 2


def test_other_commands_get_the_hosts_and_nothing_of_the_same_name(folder: Path) -> None:
    for line in ("nodes", "exec hostname", "preflight", "ssh gpu0", "prepare"):
        values = parsed(line)
        assert os.fspath(values.get("hosts") or values["inventory"]) == "../hosts.yaml", line
        assert "timeout" not in values
    assert parsed("exec hostname")["nodes"] == "gpu[0-3]"
    assert "nodes" not in parsed("status")


def test_wrong_file_stops_a_command_on_hosts_and_no_other(folder: Path) -> None:
    (folder / "orch.toml").write_text("x = 1")
    with pytest.raises(UsageError, match=r"orch.toml:1:1: x: there is no such key"):
        parsed("nodes")
    assert parsed("stop it")["run"] == "it"


def test_help_shows_what_the_file_sets(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "orch.toml").write_text(FILE)
    shown = " ".join(orch("launch", "--help", "--profile", "laptop").stdout.split())
    assert "Stop the run after TIME, with exit code 124. [orch.toml: 2h]" in shown
    assert "cpu, cpu:4: without GPUs. [orch.toml: 2]" in shown
    assert "A=file B=file" in shown
    (tmp_path / "orch.toml").write_text("x = 1")
    done = orch("launch", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "orch.toml:" not in done.stdout


def test_config_shows_values_and_their_places(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "orch.toml").write_text(FILE)
    done = orch("config", "--profile", "laptop", ORCH_INVENTORY="other.yaml")
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()}
    assert rows["local"] == ["2", "orch.toml:14 (profile laptop)"]
    assert rows["timeout"] == ["2h", "orch.toml:3"]
    assert rows["grace"] == ["3s", "default"]
    assert rows["stall"] == ["-", "default"]
    assert rows["inventory"] == ["other.yaml", "$ORCH_INVENTORY"]
    assert done.stderr == "orch: orch.toml has the profiles queue, laptop\n"
    printed = json.loads(orch("config", "--output", "json").stdout)
    by_option = {each["option"]: each for each in printed["settings"]}
    assert by_option["timeout"] == {
        "option": "timeout", "value": "2h", "source": "file", "variable": None, "line": 3,
        "column": 1, "profile": None,
    }  # fmt: skip


def test_config_path_is_that_of_the_file_also_of_a_wrong_one(orch: Orch, tmp_path: Path) -> None:
    done = orch("config", "--path")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("orch: there is no orch.toml here or above")
    (tmp_path / "orch.toml").write_text("x = 1")
    done = orch("config", "--path")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/orch.toml\n")
    assert orch("config").returncode == 2


def test_profiles_are_completed(complete: Complete, tmp_path: Path) -> None:
    assert complete("launch --profile l") == []
    (tmp_path / "orch.toml").write_text(FILE)
    assert complete("launch --profile l") == ["laptop"]
    assert complete("config --profile l") == ["laptop"]
    (tmp_path / "orch.toml").write_text("x = 1")
    assert complete("launch --profile l") == []
    assert complete("launch --prof") == ["--profile"]


def test_hosts_of_the_files_inventory_are_completed(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "orch.toml").write_text('inventory = "conf/hosts.yaml"')
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/hosts.yaml").write_text("hosts: [gpu0, gpu1]")
    assert complete("nodes --nodes g") == ["gpu0", "gpu1"]


# -- a project of someone else -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "what"),
    [
        ("{command: {run: [sh, -c, touch pwned]}}", "runs a program on this machine"),
        ("{ssh: {accept_new: true}}", "trusts host keys"),
    ],
)
def test_inventory_of_the_file_must_not_decide_what_this_machine_does(
    orch: Orch, tmp_path: Path, transport: str, what: str
) -> None:
    (tmp_path / "orch.toml").write_text('inventory = "a b.yaml"')
    (tmp_path / "a b.yaml").write_text(f"hosts: [a]\ntransport: {transport}\n")
    done = orch("nodes")
    assert done.returncode == 2
    assert f"this transport {what}, and orch.toml:1:1 names the inventory" in done.stderr
    assert "read it, then name it yourself: -i 'a b.yaml'" in done.stderr
    assert not (tmp_path / "pwned").exists()


@pytest.mark.cluster
def test_dry_run_and_log_say_which_file_sets_what(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "orch.toml").write_text(FILE)
    (tmp_path / "t.py").write_text("")
    done = orch("launch", "--profile", "laptop", "--dry-run", "-v", "t.py")
    assert "# local1: node rank 1, ranks 2-3 of 4" in done.stdout
    says = "defaults from orch.toml, profile laptop: "
    assert done.stderr.startswith(f"orch: {says}") or f"\norch: {says}" in done.stderr
    assert f"INFO orch.defaults: {says}" in done.stderr
    assert (
        "defaults from"
        not in orch("launch", "--dry-run", "--local", "1", "t.py", ORCH_CONFIG="/dev/null").stderr
    )


def test_error_of_an_option_names_the_file_that_may_set_it(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "orch.toml").write_text("hosts = '../node0'\nlauncher = 'none'\n")
    (tmp_path / "train.py").touch()
    used = "orch: defaults from orch.toml: hosts, launcher\n"
    done = orch("launch", "train.py")
    assert (done.returncode, done.stderr.startswith(f"{used}orch: -H")) == (2, True)
    done = orch("launch", "--dry-run", "train.py")
    assert (done.returncode, done.stderr.count(used)) == (2, 1)
    done = orch("launch", "-H", "../node1", "--launcher", "direct", "train.py")
    assert (done.returncode, "defaults" in done.stderr) == (2, False)


def test_default_inventory_trusts_no_host_keys(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "orch.toml").write_text("inventory = 'hosts.yaml'\n")
    (tmp_path / "hosts.yaml").write_text("hosts: [{name: node0.invalid, known_hosts: keys}]\n")
    done = orch("nodes")
    assert done.returncode == 2
    assert (
        "hosts.yaml: node0.invalid: known_hosts trusts host keys, and orch.toml:1:1 " in done.stderr
    )
    assert "name it yourself: -i hosts.yaml\n" in done.stderr
    assert "trusts" not in orch("nodes", "-i", "hosts.yaml").stderr
