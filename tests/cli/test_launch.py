"""What `orch launch` is asked for, and what it refuses before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .orch import Orch

pytestmark = pytest.mark.cluster

LOCAL = ("launch", "--local", "2", "--dry-run")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "t.py"
    script.write_text("print('hello')\n")
    return script


def test_elastic_launch_has_at_most_all_of_its_nodes(orch: Orch, script: Path) -> None:
    shown = orch(*LOCAL, "--elastic", "1:4", str(script)).stdout
    assert "# local1: node rank 1, 1 of at most 2 ranks\n" in shown
    assert shown.count("--nnodes=1:2 ") == 2
    assert shown.count("--max-restarts=3 ") == 2
    shown = orch(*LOCAL, "--elastic", "1:4", "--restarts", "0", str(script)).stdout
    assert shown.count("--max-restarts=0 ") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2:1"], "--elastic 2:1: expected two numbers of nodes, the smaller first"),
        (["2"], "--elastic 2: expected two numbers of nodes"),
        (["0:2"], "--elastic 0:2: expected two numbers of nodes"),
        (["3:4"], "--elastic 3:4: there are 2 nodes"),
        (
            ["1:2", "--on-failure", "continue"],
            "torchrun decides what an elastic job does when a rank fails",
        ),
        (
            ["1:2", "--launcher", "direct"],
            "--elastic 1:2: --launcher direct does not restart ranks",
        ),
    ],
)
def test_invalid_elastic_launch_is_refused(
    orch: Orch, script: Path, words: list[str], message: str
) -> None:
    done = orch(*LOCAL, "--elastic", *words, str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"orch: {message}")


def test_on_stall_without_stall_is_refused(orch: Orch, script: Path) -> None:
    done = orch(*LOCAL, "--on-stall", "stop", str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "orch: --on-stall stop goes with --stall TIME\n"
    assert orch(*LOCAL, "--on-stall", "stop", "--stall", "60", str(script)).returncode == 0


# -- secrets -------------------------------------------------------------------------------------


SECRET = "hunter2-hunter2"


def test_no_secret_is_in_a_dry_run(orch: Orch, script: Path) -> None:
    url = f"postgres://me:{SECRET}@db/x"
    given = [f"--env={name}={SECRET}" for name in ("PGPASS", "AUTH", "HF_PAT")]
    done = orch(*LOCAL, *given, f"--env=DB={url}", script, "--api-key", SECRET, f"--db={url}")
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr
    assert 'PGPASS="$PGPASS" AUTH="$AUTH" HF_PAT="$HF_PAT" DB="$DB"' in done.stdout
    assert "--api-key '***' '--db=postgres://me:***@db/x'" in done.stdout


def test_no_secret_is_stored_or_shown_of_a_run(orch: Orch, script: Path, tmp_path: Path) -> None:
    url = f"postgres://me:{SECRET}@db/x"
    script.write_text("import sys\nprint(len(sys.argv[2]))\n")
    words = ("--launcher", "direct", "--restarts", "1", f"--env=PGPASS={SECRET}", f"--env=DB={url}")
    done = orch("launch", "--local", "1", *words, script, "--api-key", SECRET, url)
    assert done.returncode == 0, done.stderr
    assert f"│ {len(SECRET)}\n" in done.stdout  # the script itself got it
    shown = [done.stdout, done.stderr]
    for command in (["runs"], ["status"], ["diagnose"], ["logs"]):
        for output in ("text", "json"):
            printed = orch(*command, "--output", output)
            shown += [printed.stdout, printed.stderr]
    assert SECRET not in "".join(shown)
    assert "--api-key ***" in orch("runs").stdout
    kept = [path for path in (tmp_path / ".local/state/orch").rglob("*") if path.is_file()]
    assert {"run.json", "events.jsonl"} <= {path.name for path in kept}
    for path in kept:
        assert SECRET.encode() not in path.read_bytes(), path


# -- what a preflight sees of it ------------------------------------------------------------------


def checked(orch: Orch, *words: str) -> dict[str, str]:
    """Return what a preflight of the same words has found, by its checks."""
    done = orch("preflight", "--local", "1", "--level", "quick", "--output", "json", *words)
    assert done.returncode in (0, 1), done.stderr
    return {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}


def test_preflight_checks_the_job_that_would_be_launched(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    assert checked(orch, "t.py")["nic.pick"] == "pass"
    assert checked(orch, "--env", "NCCL_SOCKET_IFNAME=none0", "t.py")["nic.pick"] != "pass"
    assert checked(orch, "t.py")["sw.script"] == "pass"
    assert checked(orch, "-m", "package.train")["sw.script"] == "skip"
    (tmp_path / "other").mkdir()
    done = orch("preflight", "--local", "1", "--sync", "other", str(script))
    assert done.returncode == 2
    assert "is not inside other, the folder that is synced" in done.stderr


@pytest.mark.parametrize("command", [["launch", "--dry-run"], ["preflight"]], ids=" ".join)
def test_sync_and_no_sync_exclude_each_other(orch: Orch, script: Path, command: list[str]) -> None:
    done = orch(*command, "--local", "1", "--sync", ".", "--no-sync", str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "orch: --sync and --no-sync exclude each other\n"


# -- which files go --------------------------------------------------------------------------------

RUN = ("launch", "--local", "1", "--launcher", "direct", "--preflight", "off")


def test_files_to_sync_are_shown_before_the_sync(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "exp/scripts").mkdir(parents=True)
    (tmp_path / "exp/scripts/t.py").write_text("print('hello')\n")
    (tmp_path / "exp/.netrc").write_text("x")
    done = orch(*RUN, "--sync", "exp", "exp/scripts/t.py")
    assert done.returncode == 0, done.stderr
    files = done.stderr.index("      files ")
    assert f"{tmp_path}/exp: 1 file, 15 B, to " in done.stderr[files:].splitlines()[0]
    assert done.stderr.startswith("orch: run ")  # the header, and this is of it
    assert files < done.stderr.index(".netrc looks like") < done.stderr.index("sync ")
    assert done.stderr.count("orch: run ") == 1


def test_folder_above_the_limit_stops_the_launch(orch: Orch, script: Path, tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/x").write_bytes(b"x" * 2000)
    done = orch(*RUN, "--sync-limit", "1k", script)
    assert (done.returncode, done.stdout) == (125, "")
    assert "more than the 1.0 kB of --sync-limit" in done.stderr
    assert "\n    /wandb/\n" in done.stderr
    (tmp_path / ".orchignore").write_text("/wandb/\n")
    assert orch(*RUN, "--sync-limit", "1k", script).returncode == 0
    assert orch(*RUN, "--sync-limit", "0", script).returncode == 0


def test_unsent_file_is_reported_before_the_start_and_after_the_failure(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    script.write_text('print(open("data/train.bin").read())\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.bin").write_text("x")
    (tmp_path / ".gitignore").write_text("data/\n")
    done = orch(*RUN, script)
    assert done.returncode == 1
    reason = "data/train.bin is here but not sent to the nodes, left out by .gitignore:1 (data/)"
    assert f"warning: t.py:1: {reason}; add to .orchignore: !/data/\n" in done.stderr
    after = " ".join(done.stderr.partition("cause:")[2].split())
    assert reason in after
    assert "fix: add to .orchignore: !/data/" in after
    diagnosis = " ".join(orch("diagnose").stdout.split())
    assert f"cause: {reason} fix: add to .orchignore: !/data/" in diagnosis
    assert "shared" not in diagnosis
    warned = orch("preflight", "--local", "1", "--only", "sw.script", script)
    assert reason in warned.stderr
    (tmp_path / ".orchignore").write_text("!/data/\n")
    assert orch(*RUN, script).returncode == 0


# -- ranks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_rank_that_the_run_does_not_have_is_refused_before_the_start(
    orch: Orch, script: Path, environment: dict[str, str], dry: list[str]
) -> None:
    words = ("--local", "1", "--nproc", "3", "--launcher", "direct", "--preflight", "off")
    done = orch("launch", *words, *dry, "--rank", "9", str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--rank 9: run t-" in done.stderr and "has ranks 0-2" in done.stderr
    assert "hello" not in done.stderr
    assert orch("runs", "--quiet").stdout == ""
