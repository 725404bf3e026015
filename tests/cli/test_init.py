"""`orch init`: an inventory is written once, whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from orchestrator.inventory import load

from .orch import Orch


def test_init_writes_a_valid_inventory_and_shows_the_next_steps(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "--user", "ubuntu", "--python", "~/venv/bin/python", "node0", "gpu[01-04]")
    assert (done.returncode, done.stdout) == (0, "")
    assert "orch nodes\n" in done.stderr
    assert "orch launch --dry-run train.py\n" in done.stderr
    hosts = load(tmp_path / "hosts.yaml").hosts
    assert [host.name for host in hosts] == ["node0", "gpu01", "gpu02", "gpu03", "gpu04"]
    assert {(host.user, host.python) for host in hosts} == {("ubuntu", "~/venv/bin/python")}


def test_init_keeps_an_existing_file_unless_forced(tmp_path: Path, orch: Orch) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("precious")
    done = orch("init", "node0")
    assert done.returncode == 2
    assert "hosts.yaml exists already" in done.stderr
    assert "--force" in done.stderr
    assert file.read_text() == "precious"
    assert orch("init", "--force", "node0").returncode == 0
    assert load(file).hosts[0].name == "node0"


def test_init_names_another_file_in_the_next_steps(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "-o", "my hosts.yaml", "node0")
    assert "orch nodes -i 'my hosts.yaml'\n" in done.stderr
    assert (tmp_path / "my hosts.yaml").is_file()


def test_init_to_a_dash_prints_the_inventory_and_writes_nothing(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "-o", "-", "gpu[01-04]")
    assert '  - "gpu[01-04]"\n' in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_invalid_host_is_an_error_and_nothing_is_written(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "node0", "bad!host")
    assert done.returncode == 2
    assert "'bad!host'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_into_a_missing_folder_is_an_error(orch: Orch) -> None:
    done = orch("init", "-o", "none/hosts.yaml", "node0")
    assert done.returncode == 2
    assert "none/hosts.yaml: cannot be written: No such file or directory" in done.stderr


def test_init_from_a_list_writes_its_hosts(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "hostfile").write_text("me@n1 slots=8 port=2222\nme@n2 slots=4\n")
    done = orch("init", "--from", "hostfile")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "orch: hostfile: read as a DeepSpeed hostfile\norch: hosts.yaml is"
    )
    assert load(tmp_path / "hosts.yaml").hosts == load(str(tmp_path / "hostfile")).hosts


def test_init_takes_hosts_or_a_list(orch: Orch) -> None:
    for words in ([], ["node0", "--from", "hostfile"]):
        done = orch("init", *words)
        assert done.returncode == 2
        assert "expected hosts, or --from SOURCE" in done.stderr


def test_init_from_a_list_writes_the_selected_hosts(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "inventory.ini").write_text(
        "[gpu]\ng1 slots=2\ng2 slots=2\n[windows]\nw1 ansible_connection=winrm\n"
    )
    done = orch("init", "--from", "inventory.ini")
    assert done.returncode == 2
    assert "→ leave out 1 host: --exclude w1\n" in done.stderr
    for words in (["--exclude", "w1"], ["--nodes", "@gpu"]):
        assert orch("init", "--force", "--from", "inventory.ini", *words).returncode == 0
        inventory = load(tmp_path / "hosts.yaml")
        assert [host.name for host in inventory.hosts] == ["g1", "g2"]
        assert [group.name for group in inventory.groups] == ["all", "gpu"]


def test_init_selects_hosts_of_a_list_only(orch: Orch) -> None:
    done = orch("init", "--nodes", "node0", "node[0-1]")
    assert done.returncode == 2
    assert "--nodes and --exclude go with --from SOURCE" in done.stderr
