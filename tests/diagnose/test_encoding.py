"""Logs in UTF-16 are read like others."""

from __future__ import annotations

import codecs

import pytest

from orchestrator.diagnose import Source, diagnose
from orchestrator.diagnose.encoding import as_utf8, utf16

TEXT = "step 1\nOSError: [Errno 28] No space left on device: '/daten/größe'\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_utf16_is_read_in_any_chunks(encoding: str, size: int) -> None:
    data = TEXT.encode(encoding)
    if size == 1 and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        size = 16  # without a mark, the first chunk must show it
    chunks = [data[start : start + max(size, 2)] for start in range(0, len(data), max(size, 2))]
    if encoding != "utf-16":
        chunks = [data[:64], *[data[start : start + 3] for start in range(64, len(data), 3)]]
    verdict = diagnose([(Source("log"), chunks)]).verdict
    assert verdict is not None and verdict.signature.id == "disk.full"
    assert "größe" in verdict.first.text


@pytest.mark.parametrize("data", [b"", b"x", TEXT.encode(), b"\0" * 64, b"\x89PNG\r\n\0\0\0\rIHDR"])
def test_utf16_of_something_else_is_none(data: bytes) -> None:
    assert utf16(data) is None
    assert b"".join(as_utf8([data])) == data
