"""The model: defaults, validation in Python, secret values."""

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.inventory import Host, Inventory, Main


def test_host_needs_only_a_name() -> None:
    host = Host(name="node0")
    assert (host.address, host.python, host.devices) == ("node0", "python3", "auto")
    assert (host.port, host.user, host.workdir, host.launcher) == (None, None, None, None)
    assert host.env == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "-x"),
        ("name", ".."),
        ("name", "a/b"),
        ("name", "a\x1b[2J"),
        ("name", "a" * 254),
        ("address", "10.0.0.256"),
        ("address", "10.0.0"),
        ("address", "bob@node"),
        ("address", "node:22"),
        ("address", "-oProxyCommand=x"),
        ("address", "fe80::1%\x1b"),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port", "22.0"),
        ("user", "-l"),
        ("user", "a b"),
        ("user", ""),
        *(("user", f"a{c}b") for c in "'`\"$;&<>|(){}*?[]/"),
        ("user", "~root"),
        ("user", "#a"),
        ("user", "a\\"),
        ("user", "${HOME}"),
        ("proxy_jump", "$(id)@gate"),
        ("proxy_jump", "a;b@gate"),
        ("proxy_jump", "ann@$(id)"),
        ("proxy_jump", "gate,${HOME}@node"),
        ("proxy_jump", "a,,b"),
        ("proxy_jump", "a:0"),
        ("proxy_jump", "-J"),
        ("proxy_jump", "a b"),
        ("python", ""),
        ("python", "python3\n"),
        ("workdir", "-rf"),
        ("devices", 0),
        ("devices", 1025),
        ("devices", "all"),
        ("launcher", "my launcher"),
        ("env", {"A B": "x"}),
        ("env", {"A": "x\0"}),
        ("env", {"A": "\ud800"}),
        ("env", {"A": "x" * 131_072}),
        ("nmae", "x"),
    ],
)
def test_invalid_value_is_refused_in_python(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Host.model_validate({"name": "node0", key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a.b_c-D9"),
        ("name", "a" * 253),
        ("address", "192.0.2.1"),
        ("address", "fe80::1%eth0"),
        ("address", "node.example.org"),
        ("port", 65535),
        ("user", "CORP\\ann"),
        ("user", "ann@corp.example.org"),
        ("user", "ann%vault#prod:ssh+x=1"),
        ("proxy_jump", "none"),
        ("proxy_jump", "ann@gate.example.org:2200,[fd00::1]:22,ssh://bastion"),
        ("python", "/opt/my env/bin/python"),
        ("devices", 1024),
        ("launcher", "mpi"),
        ("env", {"A": "", "_b2": "päth with spaces\n"}),
    ],
)
def test_valid_value_is_kept(key: str, value: object) -> None:
    assert getattr(Host.model_validate({"name": "node0", key: value}), key) == value


def test_local_path_with_tilde_starts_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert Host(name="n", identity_file="~/.ssh/key").identity_file == "/home/ann/.ssh/key"
    assert Host(name="n", known_hosts="hosts").known_hosts == "hosts"
    with pytest.raises(ValidationError, match="home folder ~nobody-of-that-name is unknown"):
        Host(name="n", identity_file="~nobody-of-that-name/key")


def test_values_of_variables_are_not_in_repr_or_errors() -> None:
    host = Host(name="node0", env={"WANDB_API_KEY": "s3cret"})
    inventory = Inventory(hosts=(host,), source=Path("hosts.yaml"))
    assert "WANDB_API_KEY" in repr(inventory)
    assert "s3cret" not in repr(inventory) + str(inventory) + repr(host.env)
    with pytest.raises(ValidationError) as caught:
        Host(name="node0", env={"WANDB_API_KEY": "s3cret\0"})
    assert "s3cret" not in str(caught.value)


def test_host_is_immutable_and_hashable() -> None:
    host = Host(name="node0", env={"A": "1"})
    with pytest.raises(ValidationError, match="frozen"):
        host.port = 22  # type: ignore[misc]
    with pytest.raises(TypeError):
        host.env["A"] = "2"  # type: ignore[index]
    assert {host: 0}[Host(name="node0", env={"A": "1"})] == 0
    assert hash(host) != hash(Host(name="node0", env={"A": "2"}))


def test_host_round_trips_through_json_and_pickle() -> None:
    host = Host(name="node0", port=2222, env={"A": "1"}, devices=4)
    assert Host.model_validate_json(host.model_dump_json()) == host
    assert pickle.loads(pickle.dumps(host)) == host


def test_main_defaults_to_none() -> None:
    assert Main() == Main(address=None, port=None)
    assert Main.model_validate({"port": "auto"}).port is None
