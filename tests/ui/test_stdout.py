"""Standard output that cannot be written, or not immediately."""

from __future__ import annotations

import io
import os
import threading

import pytest

from orchestrator.errors import OutputError
from orchestrator.ui.stdout import Descriptor


def test_write_to_a_full_disk_raises_output_error() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OutputError) as failed:  # noqa: PTH123
        Descriptor(full.fileno(), "w", closefd=False).write(b"x")
    assert str(failed.value) == "the output cannot be written: No space left on device"
    assert failed.value.exit_code == 1


def test_write_without_a_reader_raises_broken_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError), Descriptor(writing, "w") as raw:
        raw.write(b"x")


def test_write_waits_for_a_non_blocking_pipe() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got = bytearray()

    def read() -> None:
        while chunk := os.read(reading, 1 << 12):
            got.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with io.BufferedWriter(Descriptor(writing, "w")) as writer:
        writer.write(b"x" * 1_000_000)
    reader.join()
    os.close(reading)
    assert len(got) == 1_000_000
