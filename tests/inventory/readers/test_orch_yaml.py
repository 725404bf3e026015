"""From text to inventory: merging, ranges, and all faults at once with positions."""

import textwrap
from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import Host, Inventory, load
from orchestrator.inventory.readers.orch_yaml import parse

HERE = Path(__file__).parent
SOURCE = Path("hosts.yaml")


def read(text: str) -> Inventory:
    return parse(textwrap.dedent(text), SOURCE)


def refused(text: str) -> InventoryError:
    with pytest.raises(InventoryError) as caught:
        read(text)
    return caught.value


class TestHosts:
    def test_the_order_of_the_file_is_kept(self) -> None:
        hosts = read("hosts: [b, {name: a}, 'c[2,1]']").hosts
        assert [host.name for host in hosts] == ["b", "a", "c2", "c1"]

    def test_ranges_defaults_and_main_come_together(self) -> None:
        inventory = read("""
            defaults:
              user: ubuntu
              python: /opt/venv/bin/python
            main: {port: 29500}
            hosts:
              - {name: node0, address: 10.10.10.16, devices: 8}
              - {name: "gpu[01-02]", address: "gpu[01-02].lan", proxy_jump: bastion, env: {A: 1}}
            """)
        common = {"user": "ubuntu", "python": "/opt/venv/bin/python"}
        behind = {**common, "proxy_jump": "bastion", "env": {"A": "1"}}
        assert inventory.hosts == tuple(
            Host.model_validate(host)
            for host in (
                {**common, "name": "node0", "address": "10.10.10.16", "devices": 8},
                {**behind, "name": "gpu01", "address": "gpu01.lan"},
                {**behind, "name": "gpu02", "address": "gpu02.lan"},
            )
        )
        assert (inventory.main.address, inventory.main.port) == (None, 29500)
        assert inventory.source == SOURCE

    def test_spares_are_separate(self) -> None:
        inventory = read("""
            hosts:
              - a
              - {name: "s[0-1]", spare: true}
              - {name: b, spare: false}
            """)
        assert [host.name for host in inventory.hosts] == ["a", "b"]
        assert [host.name for host in inventory.spares] == ["s0", "s1"]

    def test_an_inventory_of_spares_only_is_refused(self) -> None:
        assert "hosts: expected a host that is no spare" in str(
            refused("hosts: [{name: s, spare: true}]")
        )
        assert "expected true or false; found 'maybe'" in str(
            refused("hosts: [a, {name: s, spare: maybe}]")
        )
        assert "defaults.spare: unknown key" in str(refused("defaults: {spare: true}\nhosts: [a]"))

    def test_names_and_addresses_pair_up_in_the_order_written(self) -> None:
        hosts = read("hosts: [{name: 'n[0-2]', address: '192.0.2.[9,7,8]'}]").hosts
        assert [(host.name, host.address) for host in hosts] == [
            ("n0", "192.0.2.9"),
            ("n1", "192.0.2.7"),
            ("n2", "192.0.2.8"),
        ]

    def test_several_nodes_share_an_address_when_ports_or_gateways_differ(self) -> None:
        text = """
            hosts:
              - {name: a, address: nat.example.org, port: 2201}
              - {name: b, address: nat.example.org, port: 2202}
              - {name: c, address: nat.example.org, port: 2202, proxy_jump: gate}
            """
        assert len(read(text).hosts) == 3


class TestMerging:
    def test_a_hosts_own_value_wins_and_variables_are_added_up(self) -> None:
        text = """
            defaults: {user: ann, port: 2222, env: {A: 1, B: 2}}
            hosts: [{name: x, port: 22, env: {B: 3, C: 4}}, y]
            """
        x, y = read(text).hosts
        assert (x.user, x.port, x.env) == ("ann", 22, {"A": "1", "B": "3", "C": "4"})
        assert (y.user, y.port, y.env) == ("ann", 2222, {"A": "1", "B": "2"})

    def test_null_takes_a_default_back(self) -> None:
        text = """
            defaults: {user: ann, devices: 4, python: /opt/python, env: {A: 1}}
            main:
            hosts:
              - name: x
                user: null
                devices: ~
                python:
                address:
                env:
            """
        (host,) = read(text).hosts
        assert (host.user, host.devices, host.python) == (None, "auto", "python3")
        assert (host.address, host.env) == ("x", {"A": "1"})

    def test_variables_keep_their_source_text(self) -> None:
        text = "hosts: [{name: x, env: {A: 1e5, B: 0x10, C: on, D: true, E: 007, F: '', G: 1_0}}]"
        values = ["1e5", "0x10", "on", "true", "007", "", "1_0"]
        assert list(read(text).hosts[0].env.values()) == values

    def test_anchors_and_merge_keys_follow_yaml(self) -> None:
        text = """
            x-big: &big {devices: 8, user: ann, env: &env {A: 1, B: 2}}
            x-far: &far {proxy_jump: gate, user: bob}
            hosts:
              - {<<: [*big, *far], name: x}
              - {name: y, <<: *far, user: eve, env: {<<: *env, B: 3}}
            """
        x, y = read(text).hosts
        assert (x.devices, x.user, x.proxy_jump) == (8, "ann", "gate")
        assert x.env == {"A": "1", "B": "2"}
        assert (y.devices, y.user, y.proxy_jump) == ("auto", "eve", "gate")
        assert y.env == {"A": "1", "B": "3"}

    def test_local_paths_start_at_the_folder_of_the_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", "/home/ann")
        monkeypatch.chdir(tmp_path)
        text = "defaults: {known_hosts: ~/kh, identity_file: keys/id}\nhosts: [a]"
        (host,) = parse(text, Path("/etc/orch/hosts.yaml")).hosts
        assert (host.known_hosts, host.identity_file) == ("/home/ann/kh", "/etc/orch/keys/id")
        (host,) = parse(text, Path("lab/hosts.yaml")).hosts
        assert host.identity_file == str(tmp_path / "lab/keys/id")


class TestFaults:
    def test_all_faults_are_reported_at_once_with_positions(self) -> None:
        with pytest.raises(InventoryError) as caught:
            load(HERE / "broken.yaml", launchers=lambda: ("torchrun", "fabric", "python", "direct"))
        message = str(caught.value).replace(f"{HERE}/", "")
        assert message == (HERE / "broken.txt").read_text().rstrip("\n")
        assert "s3cret" not in message
        assert message.replace("\n", "").isprintable()
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize(
        ("text", "start"),
        [
            (
                "[a, b]",
                "1:1: expected the keys defaults, main, transport, hosts, groups; found a list",
            ),
            ("node0", "1:1: expected the key hosts; found 'node0'; write hosts: [node0]"),
            ("host: [a]", "1:1: host: unknown key; did you mean 'hosts'?"),
            ("~", "1:1: the file is empty; expected at least a list 'hosts'"),
            ("{}", "1:1: hosts: missing; expected a list of hosts"),
            ("hosts:", "1:7: hosts: expected a list of hosts, each after '- '; found nothing"),
            ("hosts: []", "1:8: hosts: expected a list of hosts, each after '- '; found an empty"),
            ("hosts: {a: b}", "1:8: hosts: expected a list of hosts, each after '- '; found a map"),
            ("hosts: [a]\nmain: b", "2:7: main: expected the keys address, port; found 'b'"),
            ("hosts: [10]", "1:9: hosts[0]: expected a host name or a complete IP address; found"),
            ("hosts: ['n[0-9999]', m, o]", "1:22: hosts[1]: more than 10,000 hosts"),
        ],
    )
    def test_a_fault_of_the_whole_file_is_reported_alone(self, text: str, start: str) -> None:
        error = refused(text)
        assert str(error).startswith(f"hosts.yaml:{start}")
        assert len(error.problems) == 1

    def test_a_fault_behind_an_alias_is_reported_once(self) -> None:
        text = "x-e: &e {1 A: x}\nhosts: [{name: a, env: *e}, {name: b, env: *e}]"
        assert [problem.key for problem in refused(text).problems] == ["hosts[0].env.1 A"]

    def test_long_text_in_a_message_is_cut(self) -> None:
        message = str(refused(f"hosts: [{{name: {'-' * 100_000}, ? {'k' * 100_000} : 1}}]"))
        assert len(message) < 1000

    def test_at_most_a_hundred_faults_are_reported(self) -> None:
        error = refused("hosts: [" + "-x," * 5000 + "]")
        assert len(error.problems) == 100
        assert str(error).startswith("hosts.yaml: at least 100 problems\n")


class TestBounds:
    """Aliases, merge keys and defaults multiply; memory and time stay bounded."""

    def test_billion_laughs_are_cheap(self) -> None:
        lines = ["x-0: &x0 [lol, lol]"]
        lines += [f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 30)]
        assert len(read("\n".join([*lines, "hosts: [a]"])).hosts) == 1
        assert str(refused("\n".join([*lines, "hosts: [*x29]"]))).endswith("found a list")

    def test_nested_merges_are_cheap(self) -> None:
        lines = ["x-0: &x0 {user: ann}"]
        lines += [f"x-{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9)}]}}" for n in range(1, 30)]
        (host,) = read("\n".join([*lines, "hosts: [{name: a, <<: *x29}]"])).hosts
        assert host.user == "ann"

    @pytest.mark.parametrize(
        "hosts",
        [
            "['n[0-9999]']",
            "[{name: 'n[0-9999]', env: *e}]",
            "[" + ",".join(f"{{name: n{n}, <<: *h}}" for n in range(2500)) + "]",
        ],
    )
    def test_variables_times_hosts_are_counted(self, hosts: str) -> None:
        env = ", ".join(f"V{n}: x" for n in range(500))
        text = f"x-e: &e {{{env}}}\nx-h: &h {{env: *e}}\ndefaults: {{env: *e}}\nhosts: {hosts}"
        assert "more than 1,000,000 values in all" in refused(text).problems[-1].message
