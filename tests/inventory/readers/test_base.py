"""A file that cannot be an inventory ends in one sentence, never in a traceback."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import orchestrator.util.bounded_read
from orchestrator.errors import InventoryError
from orchestrator.inventory import Host, load


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_bytes(b"\xef\xbb\xbfhosts:\r\n  - node0\r\n")  # as an editor on Windows leaves it
    inventory = load(file)
    assert inventory.hosts == (Host(name="node0"),)
    assert inventory.source == file


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / "hosts.yaml")
    for word in (str(tmp_path / "hosts.yaml"), "orch init HOST...", "--local 2"):
        assert word in str(caught.value)


def test_a_missing_file_of_a_like_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").touch()
    with pytest.raises(InventoryError, match=r"did you mean .*hosts\.yaml\?"):
        load(tmp_path / "hosts.yml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "hosts.yaml:1:1: the file is empty"),
        (b"# nothing but a remark\n", "hosts.yaml:1:1: the file is empty"),
        (b"a: 1\nb: \xff\xfe", "hosts.yaml:2:4: expected text in UTF-8"),
        ("hosts: [a]".encode("utf-16"), "hosts.yaml:1:1: expected text in UTF-8"),
        (b"\x7fELF\x02\x01\x01\0\0", r"expected text, not the control character '\x7f'"),
        (b"hosts:\n- a\0b", r"hosts.yaml:2:4: expected text, not the control character '\x00'"),
        (b"#" * 2_000_001, "over 2,000,000 bytes"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_bytes(content)
    with pytest.raises(InventoryError) as caught:
        load(file)
    assert words in str(caught.value)


def test_what_the_system_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InventoryError, match="cannot be read: it is a folder"):
        load(tmp_path)
    with pytest.raises(InventoryError, match="cannot be read: Not a directory"):
        load(tmp_path / "file" / "hosts.yaml")


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(InventoryError, match="over 2,000,000 bytes"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    "escape",
    [r"\UFFFFFFFF", r"\U7FFFFFFF", r"\U00110000", r"\uD800", r"\uDC00\uD800", r"\0"],
)
def test_an_escape_that_is_no_character_is_refused_with_its_place(
    tmp_path: Path, escape: str
) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(f'hosts:\n  - {{name: a, user: "{escape}"}}\n')
    with pytest.raises(InventoryError, match=r"hosts.yaml:2:\d+: "):
        load(file)


def test_a_pipe_that_nobody_writes_to_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "hosts.yaml"
    os.mkfifo(pipe)
    monkeypatch.setattr(orchestrator.util.bounded_read.read_bounded, "__defaults__", (0.1,))
    with pytest.raises(
        InventoryError, match=r"nothing came within 0.1 s\n  → name a file, or a pipe"
    ):
        load(pipe)


def test_a_pipe_serves_as_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("hosts: [a]",))
    writer.start()
    inventory = load(pipe)
    writer.join(10)
    assert [host.name for host in inventory.hosts] == ["a"]


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[2Jb"])
def test_a_hostile_file_name_is_shown_escaped(tmp_path: Path, name: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / name)
    assert str(caught.value).replace("\n", "").isprintable()


def test_launches_do_not_pay_for_libraries_that_they_do_not_use(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts: [a, b]")
    program = """
import sys
from pathlib import Path
import orchestrator.inventory as inventory
assert not {"ruamel.yaml", "ClusterShell"} & set(sys.modules), "on import"
inventory.select(inventory.load(Path(sys.argv[1])), "a", "b")
assert "ClusterShell" not in sys.modules, "without a bracket"
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
