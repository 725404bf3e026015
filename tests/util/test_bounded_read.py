"""Reading a file of any kind ends."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.util.bounded_read import Unreadable, read_bounded


def test_file_within_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    assert read_bounded(tmp_path / "f", 100) == b"x" * 100
    with pytest.raises(Unreadable, match="over 99 bytes"):
        read_bounded(tmp_path / "f", 99)


def test_pipe_is_read_until_its_writer_is_done(tmp_path: Path) -> None:
    pipe = tmp_path / "p"
    os.mkfifo(pipe)
    content = b"y" * 300_000  # more than a pipe holds
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert read_bounded(pipe, 1 << 20) == content
    writer.join(10)


def test_pipe_without_a_writer_times_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(Unreadable, match=r"nothing came within 0\.05 s"):
        read_bounded(tmp_path / "p", 100, 0.05)


def test_pipe_that_does_not_end_times_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    writer = os.open(tmp_path / "p", os.O_RDWR)
    try:
        os.write(writer, b"a")
        with pytest.raises(Unreadable, match=r"it did not end within 0\.05 s"):
            read_bounded(tmp_path / "p", 100, 0.05)
    finally:
        os.close(writer)


def test_endless_device_is_cut_off_and_empty_one_is_empty() -> None:
    with pytest.raises(Unreadable, match="over 100 bytes"):
        read_bounded("/dev/zero", 100)
    assert read_bounded("/dev/null", 100) == b""


def test_folder_socket_terminal_and_link_loop_are_refused_by_kind(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="it is a folder"):
        read_bounded(tmp_path, 100)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(Unreadable, match="it is a socket"):
            read_bounded(tmp_path / "s", 100)
    controller, terminal = pty.openpty()
    try:
        with pytest.raises(Unreadable, match="it is a terminal"):
            read_bounded(os.ttyname(terminal), 100)
    finally:
        os.close(controller)
        os.close(terminal)
    (tmp_path / "l").symlink_to("l")
    with pytest.raises(Unreadable, match="symbolic links"):
        read_bounded(tmp_path / "l", 100)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
def test_invalid_file_name_is_unreadable(name: str) -> None:
    with pytest.raises(Unreadable):
        read_bounded(name, 100)


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 100)


def test_standard_input_and_process_substitution_are_read() -> None:
    program = "import sys; from orchestrator.util.bounded_read import read_bounded as r; "
    program += "print(r(sys.argv[1], 100))"
    line = f"printf abc | {sys.executable} -c '{program}' /dev/stdin; "
    line += f"{sys.executable} -c '{program}' <(printf def)"
    done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "b'abc'\nb'def'\n"
