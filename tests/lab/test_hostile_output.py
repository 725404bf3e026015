"""orch reports why a run failed with any output and any error file of a rank."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import launch, orch, record, run_name, write

pytestmark = pytest.mark.lab

JOB = r"""
import json, os, sys, time

if os.environ["RANK"] != "1":
    time.sleep(1000)
for claims in (
    '"t": 1' + "0" * 400,
    '"t": NaN, "rank": 1e999',
    '"t": -1, "rank": ' + "9" * 4400,
    '"t": 1, "node": "\\u001b[2J\\ud800"',
):
    print('{%s, "text": "\\ud800 No space left on device"}' % claims, file=sys.stderr)
print("\x1b]0;title\x07\x9b2J connect remote=[" * 200, file=sys.stderr)
print("a" * 60 + "b", file=sys.stderr)
extra = {"timestamp": "9" * 400, "py_callstack": 3}
error = {"message": "ValueError: \ud800 is no batch", "extraInfo": extra}
with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as file:
    json.dump({"message": error}, file)
sys.exit(1)
"""


def test_invalid_output_of_a_rank_is_explained_and_diagnosed(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "hostile.py", JOB)
    done = launch(lab3, "--launcher", "direct", "--preflight", "off", script)
    assert done.returncode == 1 and "rank 1 on node1 exited with 1" in done.stderr
    run = run_name(done.stderr)
    assert record(lab3, run)["verdict"]["error"] == "ValueError: ? is no batch"
    done = orch(lab3, "diagnose", run, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout, parse_constant=pytest.fail)["verdict"] == "disk.full"
    for words in (["diagnose", run, "--all"], ["status", run], ["logs", run]):
        shown = orch(lab3, *words)
        assert "Traceback" not in shown.stderr, words
        assert shown.returncode == 0, (words, shown.stderr)
    slow = orch(lab3, "logs", run, "--grep", "(a+)+$")
    assert slow.returncode == 2 and "takes too long" in slow.stderr, slow.stderr
