"""What kind of file SCRIPT is."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.job import JobOptions, JobRequest, read_job
from orchestrator.api.program import check_started_once, is_program
from orchestrator.errors import UsageError
from orchestrator.plan.launchers.registry import find

ELF = b"\x7fELF\x02\x01\x01"


def asked(script: str, *arguments: str, **options: Unpack[JobOptions]) -> JobRequest:
    return read_job(script, arguments, options)


def file(path: Path, content: bytes, mode: int = 0o755) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", "/none")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train.py", b"", False),
        ("train.py", b"#!/bin/bash\n", False),
        ("train", b"import torch\n", False),
        ("train", b"#!/usr/bin/env python3\n", False),
        ("train", b"#!/usr/bin/env -S LANG=C python3.11 -u\n", False),
        ("train", b"#! /opt/venv/bin/python -u\r\nprint()", False),
        ("train-0.1", b"print('hello')\n", False),
        ("train.zip", b"PK\x03\x04", False),
        ("empty", b"", False),
        ("run.sh", b"#!/bin/bash\nexec python train.py\n", True),
        ("run", b"#!/usr/bin/env -S bash -e\n", True),
        ("python_runner", b"#!/usr/bin/env perl\n", True),
        ("bench", ELF, True),
    ],
)
def test_file_is_a_program_by_its_name_and_its_first_bytes(
    tmp_path: Path, name: str, content: bytes, expected: bool
) -> None:
    assert is_program(file(tmp_path / name, content)) is expected


@pytest.mark.parametrize(
    ("name", "content", "mode", "message", "remedy"),
    [
        ("t.ipynb", b"{}", 0o644, "is a notebook", "jupyter nbconvert --to script"),
        ("run.sh", b"echo\n", 0o755, "has no interpreter in its first line", "#!/bin/bash"),
        ("run.sh", b"#!/bin/bash\n", 0o644, "is not executable", "chmod +x "),
        ("bench", ELF, 0o644, "is not executable", "chmod +x "),
        ("run.sh", b"#!/bin/sh\r\necho\r\n", 0o755, "has Windows line endings", "sed -i"),
        ("c.json", b'{"lr": [0.1]}', 0o644, "neither Python code nor a program", "train.py"),
        ("c.yaml", b"lr: 0.1\n", 0o644, "neither Python code nor a program", "train.py"),
        ("c.toml", b"[a]\nlr = 0.1\n", 0o644, "neither Python code nor a program", "train.py"),
        ("data.bin", bytes(range(256)), 0o644, "neither Python code nor a program", "train.py"),
    ],
)
def test_file_that_cannot_be_launched_is_refused_with_a_remedy(
    tmp_path: Path, name: str, content: bytes, mode: int, message: str, remedy: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        is_program(file(tmp_path / name, content, mode))
    assert caught.value.remedy is not None
    assert remedy in caught.value.remedy


@given(st.binary(max_size=200))
def test_any_file_is_judged_or_refused(
    tmp_path_factory: pytest.TempPathFactory, head: bytes
) -> None:
    script = file(tmp_path_factory.getbasetemp() / "any", head)
    try:
        assert is_program(script) in (True, False)
    except UsageError as error:
        assert str(error).replace("\n", "").isprintable()


def test_program_of_the_project_is_named_by_a_path(here: Path) -> None:
    file(here / "run.sh", b"#!/bin/bash\n")
    given = asked("run.sh", "a")
    assert (given.job.program, given.job.command) == (True, ("./run.sh", "a"))
    assert (given.script, given.program) == (None, Path("run.sh"))
    (here / "bin").mkdir()
    file(here / "bin/run", b"#!/bin/sh\n")
    assert asked("bin/run").job.script == "bin/run"


def test_script_that_looks_like_an_option_is_named_by_a_path(here: Path) -> None:
    file(here / "-x.py", b"")
    assert asked("-x.py").job.command == ("./-x.py",)


def test_no_python_takes_a_program_of_the_nodes(here: Path) -> None:
    given = asked("numactl", "-N", "0", "python", "train.py", no_python=True)
    assert given.job.program
    assert given.job.command == ("numactl", "-N", "0", "python", "train.py")
    assert given.source == Path()
    with pytest.raises(UsageError, match="no such file"):
        asked("bin/none", no_python=True)
    with pytest.raises(UsageError, match="--no-python and --module exclude each other"):
        asked("a", no_python=True, module=True)


def test_no_python_starts_a_python_file_as_it_is(here: Path) -> None:
    file(here / "train.py", b"#!/usr/bin/env python3\n")
    assert asked("train.py", no_python=True).job.command == ("./train.py",)
    file(here / "train.py", b"print()\n")
    with pytest.raises(UsageError, match="has no interpreter in its first line"):
        asked("train.py", no_python=True)


def test_file_only_on_the_nodes_is_judged_by_its_name(here: Path) -> None:
    assert asked("run.sh", no_sync=True).job.command == ("./run.sh",)
    assert asked("/opt/run.sh", no_sync=True).job.program
    assert not asked("train.py", no_sync=True).job.program
    with pytest.raises(UsageError, match="is a notebook"):
        asked("/nodes/t.ipynb", no_sync=True)


def test_command_of_this_machine_is_answered_with_what_runs_it(here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        asked("env")
    assert "orch launch --no-python env" in str(caught.value)
    assert "orch exec -- env" in str(caught.value)


def test_shell_script_that_starts_ranks_is_started_once_per_node(here: Path) -> None:
    script = file(
        here / "run.sh", b"#!/bin/sh\n# torchrun x\nexec torchrun --standalone train.py\n"
    )
    check_started_once(script, find("python"))
    with pytest.raises(UsageError, match=r"run\.sh:3 runs torchrun.*") as caught:
        check_started_once(script, find("direct"))
    assert "--launcher python" in str(caught.value)
    file(script, b"#!/bin/sh\nexec python train.py --launcher torchrun\n")
    check_started_once(script, find("torchrun"))
