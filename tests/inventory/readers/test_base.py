"""A file that is not an inventory is an InventoryError, never a traceback."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import orchestrator.util.bounded_read
from orchestrator.errors import InventoryError
from orchestrator.inventory import Host, load


def test_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_bytes(b"\xef\xbb\xbfhosts:\r\n  - node0\r\n")  # as an editor on Windows leaves it
    inventory = load(file)
    assert inventory.hosts == (Host(name="node0"),)
    assert inventory.source == file


def test_missing_file_has_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / "hosts.yaml")
    for word in (str(tmp_path / "hosts.yaml"), "orch init HOST...", "--local 2"):
        assert word in str(caught.value)


def test_missing_file_suggests_a_similar_name(tmp_path: Path) -> None:
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
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_bytes(content)
    with pytest.raises(InventoryError) as caught:
        load(file)
    assert words in str(caught.value)


def test_file_that_cannot_be_opened_has_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InventoryError, match="cannot be read: it is a folder"):
        load(tmp_path)
    with pytest.raises(InventoryError, match="cannot be read: Not a directory"):
        load(tmp_path / "file" / "hosts.yaml")


def test_endless_file_is_cut_off() -> None:
    with pytest.raises(InventoryError, match="over 2,000,000 bytes"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    "escape",
    [r"\UFFFFFFFF", r"\U7FFFFFFF", r"\U00110000", r"\uD800", r"\uDC00\uD800", r"\0"],
)
def test_invalid_escape_is_refused_with_its_position(tmp_path: Path, escape: str) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(f'hosts:\n  - {{name: a, user: "{escape}"}}\n')
    with pytest.raises(InventoryError, match=r"hosts.yaml:2:\d+: "):
        load(file)


def test_pipe_without_a_writer_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "hosts.yaml"
    os.mkfifo(pipe)
    monkeypatch.setattr(orchestrator.util.bounded_read.read_bounded, "__defaults__", (0.1,))
    with pytest.raises(
        InventoryError, match=r"nothing came within 0.1 s\n  → name a file, or a pipe"
    ):
        load(pipe)


def test_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("hosts: [a]",))
    writer.start()
    inventory = load(pipe)
    writer.join(10)
    assert [host.name for host in inventory.hosts] == ["a"]


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[2Jb"])
def test_file_name_with_control_characters_is_escaped(tmp_path: Path, name: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / name)
    assert str(caught.value).replace("\n", "").isprintable()


def test_libraries_are_imported_only_when_needed(tmp_path: Path) -> None:
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
