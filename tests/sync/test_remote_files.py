"""Listings of nodes are parsed, and paths that lead out are refused."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sync.remote_files import RemoteFile, remote_file


def entry(path: Any = "a/b.pt", **changes: Any) -> list[Any]:
    fields = {"size": 5, "mtime": 7, "mode": 0o644, "kind": "file", "target": "", "disk": 4096}
    return [path, *{**fields, **changes}.values()]


def link(path: str, target: str) -> RemoteFile:
    return remote_file(entry(path, kind="link", size=0, target=target))


def test_entry_is_parsed() -> None:
    assert remote_file(entry()) == RemoteFile("a/b.pt", 5, 7, 0o644, "file", "", 4096)
    assert remote_file(entry(mtime=-3)).mtime_ns == -3


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "..", "../x", "a/../x", "a//b", "a/", ".", "a\0b", "a/" + "x" * 256),
        *("x/" * 3000 + "x", ".orch-partial/x", "a/.orch-fetched", 7, None),
    ],
)
def test_path_that_leads_out_of_the_folder_is_refused(path: Any) -> None:
    with pytest.raises(ValueError, match=r"not a|reserved by orch"):
        remote_file(entry(path))


@pytest.mark.parametrize(
    "changes",
    [
        *({"kind": "pipe"}, {"size": -1}, {"size": 1 << 60}, {"mode": 0o10000}, {"mtime": "now"}),
        *({"kind": "link", "target": ""}, {"kind": "link", "target": "a\0b"}, {"disk": 1.5}),
    ],
)
def test_invalid_entry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not a|not the"):
        remote_file(entry(**changes))


@given(st.one_of(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.none()), max_size=8)))
def test_any_value_is_an_entry_or_refused(value: Any) -> None:
    try:
        found = remote_file(value)
    except (TypeError, ValueError):
        return
    assert not posixpath.normpath(found.path).startswith(("/", ".."))


@pytest.mark.parametrize(
    ("path", "target", "leads_out"),
    [
        ("last.pt", "epoch-3.pt", False),
        ("a/last.pt", "../b/x.pt", False),
        ("last.pt", "/home/me/exp/x.pt", True),
        ("last.pt", "../x", True),
        ("a/last.pt", "../../x", True),
        ("last", "..", True),
        ("a/last", "..", False),
        ("last", "d/../..", True),  # `d` may be a link to the folder itself
        ("last", "d/..", True),
    ],
)
def test_link_that_leads_out_is_recognised(path: str, target: str, leads_out: bool) -> None:
    assert link(path, target).leads_out is leads_out


STEPS = st.lists(st.sampled_from(["..", "a", "b", "."]), min_size=1, max_size=5).map("/".join)


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join), STEPS)
def test_link_that_does_not_lead_out_resolves_inside(path: str, target: str) -> None:
    found = link(path, target)
    if not found.leads_out:
        end = os.path.normpath(Path("/root", path).parent / target)
        assert end == "/root" or end.startswith("/root/")


def test_file_with_holes_is_sparse() -> None:
    assert remote_file(entry(size=1 << 20, disk=4096)).is_sparse
    assert not remote_file(entry(size=1 << 20, disk=1 << 20)).is_sparse
    assert not remote_file(entry(size=100, disk=0)).is_sparse
