"""Ansible's inventories: what is recognised, refused and run; broken files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Inventory, load, select
from orchestrator.inventory.readers.ansible import program
from orchestrator.inventory.readers.ansible.reader import READER
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.readers.orch_yaml import READER as ORCH

PROGRAM = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
echo "$ANSIBLE_INVENTORY_ENABLED" >> "$(dirname "$0")/asked"
cat "$(dirname "$0")/answer" 2>&- || { echo "$WORDS" >&2; exit 1; }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder, on a machine without Ansible."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setattr(program, "_PROGRAM", "ansible-inventory-of-a-test")
    return tmp_path


@pytest.fixture
def installed(folder: Path) -> Path:
    """Install an `ansible-inventory` that prints the file `answer`; return its folder."""
    path = folder / "bin" / "ansible-inventory-of-a-test"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path.parent


def read(text: str, name: str = "hosts.ini") -> Inventory:
    Path(name).write_text(text)
    return load(name)


def refusal(text: str, name: str = "hosts.ini") -> str:
    with pytest.raises(InventoryError) as caught:
        read(text, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hosts", "[gpu]\nnode0\n"),
        ("hosts", "node0 ansible_host=10.0.0.1\n"),
        ("hosts", "node0 slots=8 ansible_user=bob\n"),
        ("h.yml", "# x\n---\ngpu:\n  hosts:\n    node0:\n"),
        ("h.yml", "all: {hosts: {node0: {}}}\n"),
        ("h.yml", "all:\n  hosts:\n    - node0\n"),
        ("h.yml", "plugin: amazon.aws.aws_ec2\nregions: [x]\n"),
        ("h.json", '{\n  "all": {\n    "children": {}\n  }\n}'),
        ("h.json", '{"all": {"hosts": {"node0": null}}}'),
        ("h.json", '{"_meta": {"hostvars": {}}, "all": {"hosts": ["a"]}}'),
    ],
)
def test_inventory_of_ansible_is_recognised(name: str, text: str) -> None:
    Path(name).write_text(text)
    assert not ORCH.recognises(Source(name))
    assert READER.recognises(Source(name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hosts", "node0 slots=8\nnode1 slots=4\n"),
        ("hosts", "node0\nnode1:2\n10.0.0.1\n"),
        ("hosts", "[fd00::1]:22 slots=4\n"),
        ("hosts", "# ansible_host=x\nnode0\n"),
        ("hosts.toml", "[all.hosts]\nnode0 = {}\n"),
        ("x.sh", "#!/bin/sh\necho node0\n"),
        ("x.json", '{"name": "node0"}'),
        ("x.yml", "distributed_type: MULTI_GPU\nnum_machines: 2\n"),
        ("x", "\x7fELF\x00\x01"),
        ("x", ""),
    ],
)
def test_other_files_are_not_recognised(name: str, text: str) -> None:
    Path(name).write_text(text)
    assert not READER.recognises(Source(name))


@pytest.mark.parametrize(
    "text",
    [
        "hosts: [a]",
        "defaults:\n  user: bob\nhosts:\n- a\n",
        "  # x\n  hosts:\n  - a\n",
        '{"hosts": ["a"]}',
        '{\n  "x-a": {"hosts": 1},\n  "hosts": ["a"]\n}',
        "x-a: &a\n  hosts: 1\nhosts:\n- a\n",
        "%YAML 1.2\n---\ntransport: docker\nhosts: [a]\n",
    ],
)
def test_inventory_of_orch_stays_one(text: str) -> None:
    Path("h.yaml").write_text(text)
    assert ORCH.recognises(Source("h.yaml"))
    assert [host.name for host in load("h.yaml").hosts] == ["a"]


def test_folder_of_inventories_is_recognised(folder: Path) -> None:
    assert not READER.recognises(Source(str(folder)))
    (folder / "01.ini").write_text("[gpu]\nnode0\n")
    assert READER.recognises(Source(str(folder)))


def test_names_with_commas_are_hosts_without_ranges() -> None:
    assert [host.name for host in load("a,b,").hosts] == ["a", "b"]
    with pytest.raises(InventoryError, match="no such inventory"):
        load("ansible:a")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[gpu]\nnode0 x\nnode1 'a\n", ["hosts.ini:2:1: expected NAME=VALUE", "hosts.ini:3:1:"]),
        ("[a:vars]\nx=1\n", ["hosts.ini:1:1: there is no group 'a'"]),
        ("[a:children]\nb\n", ["hosts.ini:2:1: there is no group 'b'"]),
        ("[a:children]\nb\n[b:children]\na\n", ["groups contain each other: a > b > a"]),
        ("[a]\n[a:hosting]\n", ["hosts.ini:2:1: expected one of hosts, children, vars"]),
        ("[a]\n[a b]\n", ["hosts.ini:2:1: expected [group]"]),
        (
            "[a]\nn[3:1]\nn[01:9]\n",
            ["2:1: expected a range to count upwards", "3:1: expected both ends"],
        ),
        ("[a]\nn[1:99999]\n", ["hosts.ini:2:1: expected at most 10,000 hosts"]),
        ("[a]\nn[1:2000]\nm[1:9000]\n", ["hosts.ini:3:1: more than 10,000 hosts"]),
        ("[a]\nnode0:\n", ["hosts.ini:2:1: expected a port after the colon"]),
        ("[a]\n\x1b[2J\n", [r"\x1b"]),
        ("[a]\nn\nN\n", ["the hosts 'n' and 'N' have one name"]),
        ("[a]\n", ["no host in it"]),
    ],
)
def test_broken_ini_is_refused_with_lines(text: str, lines: list[str]) -> None:
    message = refusal(text) if "\x1b" not in text else _refused_host(text)
    assert all(line in message for line in lines), message
    assert "\x1b" not in message


def _refused_host(text: str) -> str:
    with pytest.raises(InventoryError) as caught:
        select(read(text))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("all:\n  hosts:\n    - node0\n", ["h.yml:3:5: all.hosts: expected a mapping", "`node0:`"]),
        (
            "all:\n  hosts:\n    node0: 10.0.0.1\n",
            ["h.yml:3:12: all.hosts.node0: expected variables"],
        ),
        (
            "all:\n  host:\n    node0:\n  hosts:\n",
            ["h.yml:2:3: all.host: unknown key; did you mean 'hosts'?"],
        ),
        ("all:\n  hosts:\n    a:\n    a:\n", ["h.yml:4:5: all.hosts.a: duplicate key"]),
        ("a:\n  children:\n    b:\n      children:\n        a:\n", ["groups contain each other"]),
        ("all:\n  hosts: {'n[2:1]': }\n", ["h.yml:2:11", "count upwards"]),
        ("all:\n\thosts:\n", ["h.yml:2:1: not valid YAML: a tab"]),
        ("all: &a\n  children:\n    b: {children: {c: *a}}\n", ["groups within each other"]),
    ],
)
def test_broken_yaml_is_refused_with_lines(text: str, lines: list[str]) -> None:
    Path("h.yml").write_text(text)
    with pytest.raises(InventoryError) as caught:
        load("ansible:h.yml")
    assert all(line in str(caught.value) for line in lines), str(caught.value)


def test_broken_file_of_variables_is_named() -> None:
    Path("group_vars").mkdir()
    Path("group_vars/gpu.yml").write_text("a: b: c\n")
    assert "group_vars/gpu.yml:1:" in refusal("[gpu]\nnode0\n")
    Path("group_vars/gpu.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    assert "group_vars/gpu.yml: it is encrypted" in refusal("[gpu]\nnode0\n")


def test_variables_of_current_folder_count_more_than_those_beside_the_inventory() -> None:
    for where, user in ((".", "here"), ("inventory", "there")):
        (Path(where) / "group_vars").mkdir(parents=True)
        (Path(where) / "group_vars" / "gpu.yml").write_text(f"ansible_user: {user}\n")
    assert read("[gpu]\nnode0\n", "inventory/hosts.ini").hosts[0].user == "here"


def test_paths_of_ansible_start_here_and_those_of_orch_at_the_inventory(folder: Path) -> None:
    Path("sub").mkdir()
    text = "n ansible_ssh_private_key_file=key orch_known_hosts=known ansible_host=10.0.0.1\n"
    host = read(text, "sub/hosts").hosts[0]
    assert (host.identity_file, host.known_hosts) == (f"{folder}/key", f"{folder}/sub/known")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ a }}-{{ b }}", "1-x"),
        ("{{inventory_hostname}}", "n0.lan"),
        ("{{ inventory_hostname_short }}", "n0"),
        ("{{ lookup('env', 'ORCH_TEST_SET') }}", "set"),
        ("{{ nope | default('d') }}", "d"),
        ("{{ lookup('env', 'ORCH_TEST_UNSET') | default('d', true) }}", "d"),
        ("{{ b | default('d') }}", "x"),
        ("{{ nope }}", "which the inventory lacks"),
        ("{{ lookup('env', 'ORCH_TEST_UNSET') }}", "not set here"),
        ("{{ circle }}", "refer to each other"),
        ("{% if a %}x{% endif %}", "only Ansible can fill in"),
        ("{{ a + 1 }}", "only Ansible can fill in"),
        ("{{ x.y }}", "only Ansible can fill in"),
        ("{{ b | upper }}", "only Ansible can fill in"),
        ("{{ lookup('file', 'x') }}", "only Ansible can fill in"),
        ("{{ {{ b }} }}", "only Ansible can fill in"),
    ],
)
def test_template_is_filled_in_if_that_is_certain(
    value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_TEST_SET", "set")
    monkeypatch.delenv("ORCH_TEST_UNSET", raising=False)
    variables = "a=1\nb=x\ncircle={{ circle }}\n"
    found = read(f"[gpu]\nn0.lan\n[gpu:vars]\n{variables}ansible_user={value}\n")
    if found.refused:
        assert found.refused[0].reason.startswith("hosts.ini:7: n0.lan: ansible_user: ")
        assert expected in found.refused[0].reason
    else:
        assert found.hosts[0].user == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("-J gate", {"proxy_jump": "gate"}),
        ("-Jme@gate:22 -C -q -o ControlMaster=auto", {"proxy_jump": "me@gate:22"}),
        ("-oProxyJump=a -o ProxyJump=b", {"proxy_jump": "a"}),
        ("-o 'ProxyJump a,b'", {"proxy_jump": "a,b"}),
        ("-o ProxyCommand='ssh -W %h:%p -q me@gate'", {"proxy_jump": "me@gate"}),
        ("-o ProxyCommand='ssh -p 2222 -l me gate -W %h:%p'", {"proxy_jump": "me@gate:2222"}),
        ("-o ProxyCommand='/usr/bin/ssh gate -W [%h]:%p'", {"proxy_jump": "gate"}),
        ("-o ProxyCommand=none", {"proxy_jump": "none"}),
        ("-p 2222 -l bob -i /k", {"port": 2222, "user": "bob", "identity_file": "/k"}),
        (
            "-o Port=1 -o User=bob -o IdentityFile=/k",
            {"port": 1, "user": "bob", "identity_file": "/k"},
        ),
        ("-o UserKnownHostsFile=/known", {"known_hosts": "/known"}),
        ("-o UserKnownHostsFile=/dev/null -tt -AC", {}),
        ("-o ProxyCommand='nc -x proxy %h %p'", "this ProxyCommand"),
        ("-o ProxyCommand='sshpass -p Hidden ssh -W %h:%p gate'", "this ProxyCommand"),
        ("-o ProxyCommand='ssh gate nc %h %p'", "this ProxyCommand"),
        ("-o ProxyCommand='ssh -J a gate -W %h:%p'", "this ProxyCommand"),
        ("-F other", "no setting for -F"),
        ("-4", "no setting for -4"),
        ("-o HostKeyAlgorithms=+ssh-rsa", "no setting for hostkeyalgorithms"),
        ("gate", "expected options of ssh"),
        ("-J", "expected a value after -J"),
        ("-o ProxyJump", "expected KEYWORD=VALUE"),
        ("-o 'a", "a quote is not closed"),
        ("-J a;b", "ansible_ssh_common_args: expected none, or [user@]host"),
    ],
)
def test_options_of_ssh_are_followed_or_refused(
    args: str, expected: dict[str, object] | str
) -> None:
    found = read(f"[a]\nn\n[a:vars]\nansible_ssh_common_args={args}\n")
    if isinstance(expected, str):
        assert expected in found.refused[0].reason
        assert "Hidden" not in found.refused[0].reason
    else:
        assert found.hosts[0].model_dump(exclude_defaults=True) == {
            "name": "n",
            "address": "n",
            **expected,
        }


def test_group_is_selected_with_its_sign_and_without() -> None:
    found = read("[gpu]\nb\na\n[c]\nc\n[cpu]\nx\n")
    assert [host.name for host in select(found, "gpu").hosts] == ["b", "a"]
    assert [host.name for host in select(found, "gpu,x", "a").hosts] == ["b", "x"]
    assert [host.name for host in select(found, "@gpu,c").hosts] == ["b", "a", "c"]


def test_host_that_orch_cannot_use_is_an_error_only_if_selected() -> None:
    found = read("localhost ansible_connection=local\n[gpu]\na\nb ansible_password=x\n")
    assert [host.name for host in select(found, "a").hosts] == ["a"]
    assert [host.name for host in select(found, None, "localhost,b").hosts] == ["a"]
    with pytest.raises(InventoryError) as caught:
        select(found)
    assert "hosts.ini:1: localhost: ansible_connection" in str(caught.value)
    assert "hosts.ini:4: b: ansible_password" in str(caught.value)
    assert "--exclude localhost,b" in str(caught.value)
    with pytest.raises(InventoryError, match=r"hosts\.ini:4"):
        select(found, "gpu")


def test_static_file_is_read_by_ansible_inventory_and_keeps_order_and_lines(
    installed: Path, folder: Path
) -> None:
    (installed / "answer").write_text(
        '{"_meta": {"hostvars": {"b": {"ansible_user": "x y"}}}, "all": {"children": ["ungrouped", "g"]},'
        ' "g": {"hosts": ["a", "b"]}}'
    )
    found = read("[g]\nb ansible_user='x y'\na\n")
    assert [host.name for host in found.hosts] == ["a"]
    assert [group.hosts for group in found.groups if group.name == "g"] == [("b", "a")]
    assert found.refused[0].reason.startswith("hosts.ini:2: b: ansible_user: expected a login")
    asked = (installed / "asked").read_text().splitlines()
    assert asked == [f"-i {folder}/hosts.ini --list", "yaml,ini"]


def test_broken_static_file_is_refused_with_lines_of_our_own(installed: Path) -> None:
    assert "hosts.ini:2:1: expected NAME=VALUE" in refusal("[g]\nb x\n")
    assert (installed / "asked").exists()


def test_words_of_ansible_inventory_are_reported(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDS", "[WARNING]: x\n\n<<< caused by >>>\n\nbad \x1b[1m\n[ERROR]: y")
    message = refusal("[g]\nb\n")
    assert "hosts.ini: ansible-inventory-of-a-test cannot read it: bad [1m" in message


@pytest.mark.parametrize(
    "answer", ["", "[]", "{}", '{"_meta": 1}', '{"_meta": {"hostvars": []}, "a": 1}']
)
def test_answer_that_is_no_inventory_is_refused(installed: Path, answer: str) -> None:
    (installed / "answer").write_text(answer)
    assert "expected what" in refusal("[g]\nb\n") or "no host in it" in refusal("[g]\nb\n")


def test_script_is_run_only_if_it_is_named(installed: Path) -> None:
    (installed / "answer").write_text('{"_meta": {"hostvars": {}}, "all": {"hosts": ["a"]}}')
    script = Path("hosts.sh")
    script.write_text("#!/bin/sh\ntouch ran\n")
    script.chmod(0o755)
    with pytest.raises(InventoryError, match=r"hosts\.sh: this is a program") as caught:
        load("hosts.sh")
    assert caught.value.remedy is not None
    assert "-i ansible:hosts.sh" in caught.value.remedy
    assert not (installed / "asked").exists()
    assert [host.name for host in load("ansible:hosts.sh").hosts] == ["a"]
    assert not Path("ran").exists()  # only Ansible would


def test_plugin_without_ansible_is_refused() -> None:
    Path("aws_ec2.yml").write_text("plugin: amazon.aws.aws_ec2\n")
    with pytest.raises(InventoryError, match="only ansible-inventory can list") as caught:
        load("aws_ec2.yml")
    assert caught.value.remedy == "pip install ansible-core"


def test_printed_list_is_read_in_the_order_of_its_groups() -> None:
    text = (
        '{"_meta": {"hostvars": {"a": {"ansible_port": 2222}, "z": {}}}, "all": {"children": ["y", "x"]},'
        ' "x": {"hosts": ["a"]}, "y": {"children": ["w"]}, "w": ["b", "c"]}'
    )
    found = read(text, "list.json")
    assert [host.name for host in found.hosts] == ["b", "c", "a", "z"]
    assert found.hosts[2].port == 2222
    assert [host.name for host in select(found, "y").hosts] == ["b", "c"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *(
                        "[a]",
                        "[a:vars]",
                        "[b:children]",
                        "a",
                        "b",
                        "n[1:3] x=1",
                        "n ansible_host={{ x }}",
                    ),
                    *(
                        "all:",
                        "  hosts:",
                        "    n:",
                        "      ansible_port: 1",
                        "  children: {b: *c}",
                        "&c",
                    ),
                    *('{"all":', "}", "---", "x=(((((", "n orch_devices=[1", "<<: *c", "!vault x"),
                ]
            ),
            st.text(max_size=12),
        ),
        max_size=8,
    ).map("\n".join),
    name=st.sampled_from(["h.ini", "h.yml"]),
)
@example(text="x=" + "(" * 3000, name="h.ini")
@example(text="[a]\nn x=" + "[" * 90000, name="h.ini")
def test_any_text_is_an_inventory_or_refused_in_printable_lines(text: str, name: str) -> None:
    Path(name).write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = load(f"ansible:{name}")
    except InventoryError as error:
        assert str(error).replace("\n", "").isprintable()
    else:
        assert found.hosts or found.refused or found.spares
        assert all(each.reason.replace("\n", "").isprintable() for each in found.refused)


def test_refused_host_is_an_error_of_include_and_can_be_excluded_in_its_words() -> None:
    found = read("localhost ansible_connection=local\na slots=4\n")
    with pytest.raises(InventoryError, match="ansible_connection"):
        select(found, include="localhost@a:0")
    assert [host.name for host in select(found, include="a:0").hosts] == ["a"]
    assert [host.name for host in select(found, exclude="localhost@a:0").hosts] == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_folder_that_the_user_cannot_search_is_an_error(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "hosts.ini").write_text("[gpu]\nn1\n")
    (folder / "group_vars").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(InventoryError, match=r"group_vars.*: Permission denied"):
            load("hosts.ini")
    finally:
        os.seteuid(0)


def test_folder_of_many_files_is_refused_before_they_are_read(folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(300):
        (folder / "many" / f"h{number}").write_text(f"[gpu]\nn{number}\n")
    with pytest.raises(InventoryError, match="many: over 256 files in this folder"):
        load("many")
