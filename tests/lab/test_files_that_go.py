"""Which files are copied to the nodes, and what the copies are like."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, write

pytestmark = pytest.mark.lab

LIST = """
import os, sys
for folder, folders, names in os.walk("."):
    for name in folders + names:
        print("has", os.path.normpath(os.path.join(folder, name)))
print("args", sys.argv, os.path.basename(os.getcwd()))
"""


def launched(lab: Lab, cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Launch on node0 from `cwd` without checks."""
    options = [
        "-i",
        lab.inventory,
        "--nodes",
        "node0",
        "--launcher",
        "direct",
        "--preflight",
        "off",
    ]
    return lab.run([*ORCH, "launch", *map(str, [*options, *words])], cwd=cwd, timeout=120)


def there(done: subprocess.CompletedProcess[str]) -> set[str]:
    return {line.partition("has ")[2] for line in done.stdout.splitlines() if "│ has " in line}


def workdir(lab: Lab, name: str) -> Path:
    """Return the path on this machine of the folder on node0 that has the files of `name`."""
    (folder,) = {path.parent for path in lab.files("node0").glob(f"home/**/{name}")}
    return folder


def test_script_in_the_home_sends_no_credentials(lab3: Lab) -> None:
    home = lab3.home
    write(home, "hello.py", LIST)
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws/credentials").write_text("[default]\naws_secret_access_key = x\n")
    try:
        done = launched(lab3, home, "hello.py")
        assert (done.returncode, done.stdout) == (2, "")
        assert "your home folder" in done.stderr
        assert "--sync DIR" in done.stderr
        done = launched(lab3, home, "--sync", ".", "hello.py")
        assert done.returncode == 0, done.stderr
        assert "hello.py" in there(done)
        assert not {name for name in there(done) if name.startswith((".aws", ".ssh"))}
        assert "look like credentials and were not sent" in done.stderr
    finally:
        (home / "hello.py").unlink()
        (home / ".aws/credentials").unlink()


def test_script_below_the_current_folder_starts_in_its_copy(lab3: Lab, tmp_path: Path) -> None:
    project = tmp_path / "exp"
    project.mkdir()
    (project / "helper").mkdir()
    (project / "helper/__init__.py").write_text("WORD = 'helped'\n")
    (project / "conf.json").write_text("{}")
    write(project / "scripts", "train.py", "import sys\nsys.path.append('.')\nimport helper\n"
          "print('got', open(sys.argv[1]).read(), helper.WORD)\n")  # fmt: skip
    done = launched(lab3, project, "scripts/train.py", "conf.json")
    assert done.returncode == 0, done.stderr
    assert "│ got {} helped" in done.stdout
    assert f"files {project}: 3 files" in done.stderr
    (tmp_path / "beside.txt").write_text("beside")
    done = launched(lab3, project, "scripts/train.py", "../beside.txt")
    assert "launch with --sync .., which contains both" in done.stderr
    done = launched(lab3, project, "--sync", "..", "scripts/train.py", "../beside.txt")
    assert done.returncode == 0, done.stderr
    assert "│ got beside helped" in done.stdout


def test_copy_equals_the_source_in_content_and_size(lab3: Lab, tmp_path: Path) -> None:
    project = tmp_path / "true"
    write(project, "list_true.py", LIST)
    (project / "checkpoints").mkdir()
    with (project / "db.img").open("wb") as file:
        file.truncate(64 << 20)
    (project / "a").write_bytes(os.urandom(1 << 20))
    (project / "b").hardlink_to(project / "a")
    (project / "data").symlink_to("/nowhere/data")
    done = launched(lab3, project, "list_true.py")
    assert done.returncode == 0, done.stderr
    assert {"checkpoints", "db.img", "a", "b", "data"} <= there(done)
    assert "data -> /nowhere/data leads out of the folder" in done.stderr
    place = workdir(lab3, "list_true.py")
    assert (place / "a").samefile(place / "b")
    assert sum((place / name).stat().st_blocks * 512 for name in ("db.img", "a")) < 3 << 20
    (project / "checkpoints").rmdir()
    (project / "checkpoints").symlink_to("data")
    assert launched(lab3, project, "list_true.py").returncode == 0
    assert (place / "checkpoints").readlink() == Path("data")
