"""For any output of ranks, `orch diagnose` and the verdict of a run are printable and fast."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.diagnose import Examination, Log, examine
from orchestrator.control.explain import explain
from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.diagnose import Evidence, Exit, Source
from orchestrator.remote.reports import ProcessEnd
from orchestrator.ui.diagnose import DiagnosisView, describe, rows
from orchestrator.ui.terminal import paint
from tests.fuzz.terminal_safety import is_terminal_safe
from tests.runs.helpers import ENDED, TERM, plan_of, rank

HERE = Path(__file__).parent
CORPUS = sorted((HERE / "corpus" / "diagnose").iterdir())
RECORDED = sorted((HERE.parent / "recorded" / "failures").glob("*/*.txt"))
MAX_SECONDS = 20.0  # for less than 100 kB, on a busy machine
_MAX_BYTES = 60_000

RANKS_OF_JSON = [b"null", b"true", b"-1", b"1e999", b"1" * 400, b"[]", b'"3"', b"3"]
TIMES = [b"NaN", b"Infinity", b"-Infinity", b"1e308", b"-1", b"9" * 400, b"9" * 5000, b"{}", b"1.5"]
TEXTS = [b'"\\ud800"', b'"\\u001b[2J"', b'"' + b"n" * 5000 + b'"', b"7", b"[" * 3000, b'"n1"']


@st.composite
def lines_of_json(draw: st.DrawFn) -> bytes:
    """Draw a line of `--output json` with values that orch does not write."""
    held = json.dumps(draw(st.text(max_size=60))).encode()
    values = (st.sampled_from(TIMES), st.sampled_from(RANKS_OF_JSON), st.sampled_from(TEXTS))
    t, number, node = (draw(each) for each in values)
    text = draw(
        st.sampled_from([held, b'"\\udfff No space left on device"', b'"ValueError: \\ud83d"'])
    )
    return b'{"t": %s, "rank": %s, "node": %s, "text": %s}\n' % (t, number, node, text)


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Draw output of real programs: cut, combined, repeated, with other bytes in it."""
    pieces: list[bytes] = []
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(RECORDED)).read_bytes()
        begin = draw(st.integers(0, max(0, len(text) - 1)))
        end = draw(st.integers(begin, min(len(text), begin + 8000)))
        piece = bytearray(text[begin:end])
        for at, byte in draw(
            st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 255)), max_size=4)
        ):
            if at < len(piece):
                piece[at] = byte
        pieces.append(bytes(piece) * draw(st.sampled_from([1, 1, 1, 3, 20])))
        pieces.append(draw(st.one_of(lines_of_json(), st.binary(max_size=40), st.just(b"\n"))))
    return b"".join(pieces)[:_MAX_BYTES]


def examined(path: Path, source: Source, evidence: Evidence | None = None) -> Examination:
    started = time.monotonic()
    found = examine([Log(source, path, None)], evidence)
    assert time.monotonic() - started < MAX_SECONDS
    return found


def shown(view: DiagnosisView) -> None:
    """Check that text and JSON can be written, and are safe for a terminal."""
    for everything in (False, True):
        for row in rows(view, 100, everything=everything):
            assert is_terminal_safe(paint(row, 100, colour=True))
    document = json.dumps(describe(view), indent=2)
    assert document.isascii()
    json.loads(document, parse_constant=pytest.fail)  # NaN and Infinity are not JSON


def verdict(folder: Path, log: bytes, known: NodeEvidence) -> None:
    """Check the verdict of a run with this output of a rank."""
    file = folder / "n0" / "attempt-0" / "rank-0.err"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(log)
    end = ProcessEnd(1, None)
    nodes = {
        "n0": NodeState("n0", {0: rank(0, end, 4.0), 1: rank(1, TERM, 5.0)}, ENDED),
        "n1": NodeState("n1", {2: rank(2, TERM, 5.0)}, ENDED),
    }
    explained = explain(plan_of(2, 1), nodes, FirstFailure("n0", 0, end), folder, known)
    for text in (
        explained.error,
        explained.place,
        explained.meaning,
        explained.cause,
        explained.fix,
        explained.evidence,
    ):
        assert text.isprintable()
    assert all(is_terminal_safe(line.encode()) for line in explained.lines)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_log_of_the_corpus_is_diagnosed(path: Path, tmp_path: Path) -> None:
    shown(DiagnosisView(examined(path, Source(path.name))))
    verdict(tmp_path, path.read_bytes(), NodeEvidence())


@given(log=logs(), is_of_rank=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_log_is_diagnosed(log: bytes, is_of_rank: bool, tmp_path: Path) -> None:
    path = tmp_path / "any.log"
    path.write_bytes(log)
    source = Source("any.log", rank=3 if is_of_rank else None, node="n1" if is_of_rank else None)
    shown(DiagnosisView(examined(path, source, Evidence((Exit(3, -9, "n1", 7),)))))
    verdict(tmp_path, log, NodeEvidence())


ONE = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40)
)
JSON = ONE | st.lists(ONE, max_size=3) | st.dictionaries(st.text(max_size=5), ONE, max_size=3)
ERROR_FILES = st.fixed_dictionaries(
    {
        "message": JSON
        | st.fixed_dictionaries(
            {
                "message": JSON | st.sampled_from(["ValueError: \ud800", "E: " + "x" * 9000]),
                "extraInfo": JSON
                | st.fixed_dictionaries(
                    {"py_callstack": JSON, "timestamp": JSON | st.just("9" * 400)}
                ),
            }
        )
    }
)


@given(
    file=ERROR_FILES.map(json.dumps) | st.binary(max_size=200).map(lambda b: b.decode("latin-1"))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_error_file_of_torch_is_read(file: str, tmp_path: Path) -> None:
    verdict(tmp_path, b"", NodeEvidence(error_file=file, kernel=("\ud800 pid 7",)))
    path = tmp_path / "empty.log"
    path.write_bytes(b"")
    data = file.encode("utf-8", "replace")
    shown(
        DiagnosisView(examined(path, Source("x"), Evidence(error_files=((Source("f", 1), data),))))
    )


@given(
    answer=st.fixed_dictionaries(dict.fromkeys(("error_file", "oom_kills", "kernel", "why"), JSON))
)
def test_any_answer_of_a_node_is_parsed_or_refused(answer: dict[str, object]) -> None:
    with suppress(KeyError, TypeError, ValueError):  # the caller handles these
        NodeEvidence.parse(answer)
