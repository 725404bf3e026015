"""`orch diagnose`: of runs, from their folders alone, and of files."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.runs.folder import LOGS
from tests.ui.screens import Terminal

from .fake_run import T0, FakeRun
from .orch import Complete, Orch

TEXTS = Path(__file__).parent.parent / "recorded" / "failures"

RAISED = """\
Traceback (most recent call last):
  File "/home/u/orch/job/train.py", line 88, in step
    loss = model(batch)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.22 GiB.
"""
VICTIM = "RuntimeError: Connection closed by peer [10.0.0.17]:4711\n"


def began(rank: int, attempt: int = 0) -> events.RankBegan:
    return events.RankBegan(rank, rank % 2, f"n{rank // 2}", attempt, 100 + rank, T0)


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The home is where the tests work."""
    return {**environment, "HOME": str(tmp_path)}


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """Rank 3 fails, the others say that a peer is gone; n1's clock is ten seconds ahead."""
    run = FakeRun(tmp_path, skews={"n0": 0.0, "n1": 10.0})
    run.note(*map(began, range(4)))
    run.write(0, "step 1\n", 1.0)
    run.write(3, "step 1\n" + RAISED, 12.0, "stderr")
    run.write(0, VICTIM, 2.5, "stderr")
    run.write(1, VICTIM, 2.6, "stderr")
    run.note(events.RankEnded(3, "n1", 1, None, T0 + 12.1))
    run.note(events.RankEnded(0, "n0", 1, None, T0 + 2.7))
    return run.end(1)


def test_diagnosis_has_the_cause_first_and_then_what_followed(orch: Orch, run: FakeRun) -> None:
    done = orch("diagnose")
    assert done.stdout.splitlines() == [
        "run lusab-babad: rank 1 on n0 exited with 1",
        "",
        "out of GPU memory · rank 3 on n1",
        "  seen:   torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.22 GiB.",
        "  in:     n1/attempt-0/rank-3.err:5, raised at /home/u/orch/job/train.py:88 in step",
        "  cause:  the batch is too large for this GPU, or another process holds memory on it",
        "  fix:    use a smaller batch, or gradient accumulation; see `nvidia-smi` for other processes",
        "  check:  orch preflight --only gpu.busy",
        "",
        "then:   gloo lost a peer · 2 ranks (0-1) on n0, after a rank that died",
        "",
        "read 4 files, 312 B, in ~/.local/state/orch/runs/lusab-babad/logs",
    ]
    assert (done.stderr, done.returncode) == ("", 0)


def test_first_of_two_causes_by_corrected_clocks_is_the_verdict(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path, skews={"n0": 0.0, "n1": 10.0})
    run.write(0, "ModuleNotFoundError: No module named 'foo'\n", 5.0, "stderr")
    run.write(2, "OSError: [Errno 28] No space left on device\n", 14.0, "stderr")
    run.end(1)
    hits = json.loads(orch("diagnose", "--output", "json").stdout)["hits"]
    assert [(hit["id"], hit["first"]["time"]) for hit in hits] == [
        ("disk.full", T0 + 4.0),
        ("python.no-module", T0 + 5.0),
    ]


def test_json_has_everything(orch: Orch, run: FakeRun) -> None:
    described = json.loads(orch("diagnose", "lus", "--output", "json").stdout)
    assert (described["run"], described["attempt"], described["verdict"]) == (
        "lusab-babad",
        0,
        "cuda.memory",
    )
    assert described["logs"] == str(run.folder / LOGS)
    assert (len(described["files"]), described["bytes"], described["left_out"]) == (4, 312, [])
    assert [end["rank"] for end in described["exits"]] == [0, 3]
    assert described["exits"][1]["time"] == pytest.approx(T0 + 2.1)


def test_exit_of_a_rank_counts_unless_the_stop_caused_it(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.note(*map(began, range(4)))
    run.note(events.RankEnded(2, "n1", None, 11, T0 + 1))
    run.note(events.Stopping(Stop(StopReason.RANK_FAILED), 3.0))
    run.note(events.RankEnded(0, "n0", None, 9, 4e9))
    run.end(139)
    described = json.loads(orch("diagnose", "--output", "json").stdout)
    assert [hit["id"] for hit in described["hits"]] == ["exit.segv"]
    assert [end["rank"] for end in described["exits"]] == [2]


def test_diagnose_attempt_selects_an_earlier_attempt(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.note(*map(began, range(4)))
    run.write(1, RAISED, 1.0, "stderr")
    run.note(events.RankEnded(1, "n0", 1, None, T0 + 1))
    run.note(events.Restarting(2, 2, "rank 1 on n0 exited with 1"))
    run.note(*(began(rank, 1) for rank in range(4)))
    run.write(2, "OSError: [Errno 28] No space left on device\n", 9.0, "stderr", attempt=1)
    run.note(events.RankEnded(2, "n1", 7, None, T0 + 9))
    run.end(7, attempt=1, failed=[
        {"number": 0, "last": 0, "began": T0, "ended": T0 + 2, "exit_code": 1,
         "summary": "rank 1 on n0 exited with 1", "lost": []},
    ])  # fmt: skip
    last, first = (
        json.loads(orch("diagnose", "--output", "json", *words).stdout)
        for words in ((), ("--attempt", "0"))
    )
    assert (last["attempt"], last["verdict"]) == (1, "disk.full")
    assert [(end["rank"], end["code"]) for end in last["exits"]] == [(2, 7)]
    assert (first["attempt"], first["verdict"]) == (0, "cuda.memory")
    assert [(end["rank"], end["code"]) for end in first["exits"]] == [(1, 1)]
    done = orch("diagnose", "--attempt", "3")
    assert "run lusab-babad has no such attempt\n  → it has 0, 1" in done.stderr
    assert done.returncode == 2


def test_cause_that_only_the_record_has_is_shown(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.write(0, VICTIM, 2.5, "stderr")
    why = {
        "run": "lusab-babad", "how": "n1 is gone", "node": "n1", "rank": None, "code": None,
        "signal": None, "after": None, "error": "", "place": "", "signature": "", "meaning": "",
        "cause": "the machine, or its network, is gone", "fix": "look at its console", "check": "",
        "evidence": "", "channel": "stderr", "lines": [], "victims": [0, 1, 2, 3],
        "logs": str(run.folder), "command": "orch logs",
    }  # fmt: skip
    done = orch("diagnose", run.end(1, verdict=why).folder.name)
    assert "  cause:  the machine, or its network, is gone\n" in done.stdout
    assert "gloo lost a peer · rank 0 on n0" in done.stdout


def test_diagnosis_without_a_cause_names_the_logs_and_exits_with_1(
    orch: Orch, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path)
    run.write(0, "step 1\n", 1.0)
    run.end(0)
    done = orch("diagnose")
    assert done.stdout.splitlines() == [
        "run lusab-babad: all 4 ranks succeeded",
        "",
        "no known problem in n0/attempt-0/rank-0.out, 7 B, in ~/.local/state/orch/runs/lusab-babad/logs",
        "last lines: orch logs lusab-babad --tail 20",
    ]
    assert done.returncode == 1


def test_diagnose_reads_the_folder_of_a_run_from_another_machine(
    orch: Orch, tmp_path: Path, run: FakeRun
) -> None:
    run.folder.rename(tmp_path / "copy")
    done = orch("diagnose", "copy/")
    assert "out of GPU memory · rank 3 on n1\n" in done.stdout
    assert done.stdout.endswith("read 4 files, 312 B, in ~/copy/logs\n")
    assert done.returncode == 0


def test_diagnose_reads_folders_and_gzip_files(orch: Orch, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    (folder / "deep").mkdir(parents=True)
    (folder / "rank-10.log").write_text(VICTIM)
    (folder / "rank-9.log").write_text(VICTIM)
    (folder / "deep/rank_2.txt.gz").write_bytes(gzip.compress(RAISED.encode()))
    (folder / "model.pt").write_bytes(b"PK\0" + RAISED.encode())
    done = orch("diagnose", "logs")
    assert done.stdout.splitlines()[0] == "out of GPU memory · rank 2"
    assert "  in:     logs/deep/rank_2.txt.gz:4, raised at" in done.stdout
    assert "then:   gloo lost a peer · 2 ranks (9-10), after a rank that died" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("read 3 files, ")
    assert "left out: 1 file is not text" in done.stderr


def test_standard_input_is_read(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "input").write_text(f"3: {VICTIM}1: ok\n")
    with (tmp_path / "input").open() as file:
        done = orch("diagnose", "-", streams={0: file.fileno()})
    assert done.stdout.splitlines()[0] == "gloo lost a peer · rank 3, after a rank that died"
    assert done.returncode == 1  # only a consequence
    assert "  in:     (standard input):1\n" in done.stdout


@pytest.mark.parametrize("text", ["printed/store-port-in-use", "published/cuda-memory"])
def test_recorded_failures_are_explained(orch: Orch, text: str) -> None:
    done = orch("diagnose", TEXTS / f"{text}.txt")
    assert "  fix:    " in done.stdout and "  check:  orch preflight --only " in done.stdout


def test_diagnose_all_shows_consequences_in_full(orch: Orch, run: FakeRun) -> None:
    done = orch("diagnose", "--all")
    assert "then:" not in done.stdout
    assert (
        "  in:     n0/attempt-0/rank-0.err:1\n"
        "          n0/attempt-0/rank-1.err:1\n"
        "  cause:  " in done.stdout
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "there is neither a file nor a run 'nope'"),
        (["./nope"], "there is no file './nope'"),
        (["job.log", "nope.log"], "there is neither a file nor a run 'nope.log'"),
        (["job.log", "lusab"], "'lusab' is a run: name one run, or files"),
        (["job.log", "--attempt", "1"], "--attempt is of a run; these are files"),
        (["broken.gz"], "broken.gz cannot be read: Unknown compression method"),
    ],
)
def test_missing_run_or_file_is_named(
    orch: Orch, tmp_path: Path, run: FakeRun, words: list[str], said: str
) -> None:
    (tmp_path / "job.log").write_text("")
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8btext, not packed")
    done = orch("diagnose", *words)
    assert (done.stdout, done.returncode) == ("", 2)
    assert said in done.stderr


def test_diagnosis_fits_a_terminal_of_80_columns(orch: Orch, run: FakeRun) -> None:
    (run.path(3, "err")).write_text(RAISED.replace("CUDA", "CUDA\x1b]0;mine\x07"))
    terminal = Terminal(80, 50)
    assert orch("diagnose", streams={1: terminal.descriptor}, TERM="xterm").returncode == 0
    rows = terminal.look(0.1)
    assert "  fix:    use a smaller batch, or gradient accumulation; see `nvidia-smi` for" in rows
    assert "          other processes" in rows
    assert not any("…" in row for row in rows)
    assert b"\x1b]" not in terminal.written and b"\x1b[1;31mout of GPU memory" in terminal.written


def test_runs_and_files_are_completed(tmp_path: Path, complete: Complete, run: FakeRun) -> None:
    (tmp_path / "lus").mkdir()
    (tmp_path / "lus/job.log").touch()
    assert complete("diagnose lu") == ["lusab-babad", "lus/"]
    assert complete("diagnose lus/") == ["lus/job.log"]


@pytest.mark.parametrize("output", ["text", "json"])
def test_json_line_with_impossible_values_is_diagnosed(
    orch: Orch, tmp_path: Path, output: str
) -> None:
    log = tmp_path / "bad.jsonl"
    log.write_text(
        '{"t": 1' + "0" * 400 + ', "rank": 3, "node": "n1", "text": "\\ud800 CUDA out of memory"}\n'
        '{"t": NaN, "rank": 1e999, "node": "\\u001b[2J", "text": "\\ud800 No space left on device"}\n'
    )
    done = orch("diagnose", str(log), "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    assert "out of GPU memory" in done.stdout and "the disk is full" in done.stdout


def test_log_with_a_name_that_is_no_text_is_diagnosed(orch: Orch, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.log")
    Path(name).write_text("RuntimeError: No space left on device\n")
    done = orch("diagnose", name)
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_site_signature_is_found_and_an_invalid_one_reported(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        "[[signature]]\n"
        "id = 'site.switch-down'\n"
        "meaning = 'the switch of {rack} is down'\n"
        "patterns = ['lost uplink of (?P<rack>r[0-9]{1,3})']\n"
        "cause = 'its firmware restarted'\n"
        "fix = 'exclude {rack}'\n"
        "[[signature]]\n"
        "id = 'site.other'\n"
    )
    (tmp_path / "job.log").write_text("3: fabricd: lost uplink of r17\n")
    done = orch("diagnose", "job.log", ORCH_SIGNATURES="site.toml")
    assert done.stdout.splitlines() == [
        "the switch of r17 is down · rank 3 (likely)",
        "  seen:   fabricd: lost uplink of r17",
        "  in:     job.log:1",
        "  cause:  its firmware restarted",
        "  fix:    exclude r17",
        "",
        "read job.log, 31 B",
    ]
    left_out = f"signature 'site.other' of {tmp_path}/site.toml is left out: it has no meaning"
    assert f"warning: {left_out}" in " ".join(done.stderr.split())
    assert done.returncode == 0
    done = orch("diagnose", "job.log", "--output", "json", ORCH_SIGNATURES="site.toml")
    described = json.loads(done.stdout)
    assert described["verdict"] == "site.switch-down"
    assert described["hits"][0]["signature_file"] == str(tmp_path / "site.toml")
    assert [sentence.startswith(left_out) for sentence in described["left_out"]] == [True]
    assert orch("diagnose", "job.log").returncode == 1


def test_signatures_in_the_users_configuration_folder_are_read(orch: Orch, tmp_path: Path) -> None:
    folder = tmp_path / "config/orch"
    folder.mkdir(parents=True)
    (folder / "signatures.toml").write_text("[[signature]")
    (tmp_path / "job.log").write_text(RAISED)
    done = orch("diagnose", "job.log", XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert "is left out: it is not TOML: " in done.stderr
    assert "out of GPU memory" in done.stdout and done.returncode == 0
