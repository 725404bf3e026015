"""docs/extending.md: its package is built, installed and used as the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
FILES = {
    match[2]: match[0].partition("\n")[2]
    for match in re.finditer(r"```(\w+)\n# (\S+)\n.*?(?=```)", PAGE, re.DOTALL)
}

Orch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package of the page."""
    source = tmp_path_factory.mktemp("source")
    for name, text in FILES.items():
        if name == "signatures.toml":
            continue
        path = source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (source / "orch_ours/__init__.py").touch()
    target = tmp_path_factory.mktemp("packages")
    words: list[str | Path] = [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        target,
    ]
    subprocess.run([sys.executable, "-m", "pip", "install", *words, source], check=True)
    return target


@pytest.fixture
def orch(packages: Path, tmp_path: Path) -> Orch:
    """Run one command with the package installed beside orch."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"], "HOME": str(tmp_path.parent), "LANG": "C.UTF-8",
                "XDG_STATE_HOME": str(tmp_path / ".state"), "PYTHONPATH": f"{packages}:{ROOT}", **more,
            },
        )  # fmt: skip

    return run


def test_page_has_one_file_for_each_plugin_of_at_most_forty_lines() -> None:
    modules = [name for name in FILES if name.endswith(".py")]
    assert len(modules) == 4
    assert all(FILES[name].count("\n") <= 40 for name in modules)


def test_launcher_starts_the_ranks(orch: Orch, tmp_path: Path) -> None:
    script = "import os\nprint(os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])\n"
    (tmp_path / "train.py").write_text(script)
    words = ("--local", "2", "--nproc", "2", "--preflight", "off", "--launcher", "counted")
    done = orch("launch", *words, "train.py")
    assert done.returncode == 0, done.stderr
    said = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    assert said == [f"{rank} of 4" for rank in range(4)]


def test_transport_and_inventory_format_work_together(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "machines.txt").write_text("# hosts\na\nb  # the second\n")
    for inventory in ("machines.txt", "lines:machines.txt"):
        done = orch("exec", "-i", inventory, "--transport", "shell", "--", "echo", "here")
        assert (done.returncode, done.stdout) == (
            0,
            "a,b │ here\n",
        )
        assert f"{inventory}: read as a list of hosts, one a line" in done.stderr
    (tmp_path / "machines.txt").write_text("# hosts\na b\n")
    done = orch("exec", "-i", "machines.txt", "--", "true")
    assert (done.returncode, "machines.txt:2:1: expected one host" in done.stderr) == (2, True)


def test_check_fails_where_the_folder_is_missing(orch: Orch) -> None:
    done = orch("preflight", "--local", "2", "--only", "ours.dataset")
    assert done.returncode == 1, done.stderr
    assert "ours.dataset" in done.stdout
    assert "there is no /data/imagenet" in done.stdout
    assert "mount /data/imagenet" in done.stdout


def test_signature_of_the_page_is_found_in_a_log(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "signatures.toml").write_text(FILES["signatures.toml"])
    (tmp_path / "job.log").write_text("step 1\nfabricd: lost uplink of r17\n")
    done = orch("diagnose", "job.log", ORCH_SIGNATURES=str(tmp_path / "signatures.toml"))
    assert done.returncode == 0, done.stderr
    assert "the switch of r17 is down" in done.stdout
    assert "leave out the nodes of r17 with --exclude" in done.stdout
