"""Exceptions, with the line in the user's own code and what they were raised from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.diagnose import Certainty, Diagnosis, Evidence, PythonError, Source, diagnose
from orchestrator.diagnose.traceback import read_error_file

PRINTED = Path(__file__).parent.parent / "recorded" / "failures" / "printed"


def read(text: str) -> Diagnosis:
    return diagnose([(Source("rank-0.err"), [text.encode()])])


def error_of(text: str) -> PythonError:
    error = read(text).hits[0].error
    assert error is not None
    return error


def test_traceback_gives_the_innermost_frame_of_the_users_code() -> None:
    error = error_of("""\
Traceback (most recent call last):
  File "/home/user/job/train.py", line 60, in <module>
    main()
  File "/home/user/job/train.py", line 42, in main
    out = net(batch)
          ^^^^^^^^^^
  File "/opt/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1751, in _call_impl
    return forward_call(*args, **kwargs)
  File "/usr/lib/python3.11/json/__init__.py", line 9, in loads
  File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x4 and 5x1)
""")
    assert (error.type, error.file, error.line, error.function) == (
        "RuntimeError",
        "/home/user/job/train.py",
        42,
        "main",
    )
    assert error.message == "mat1 and mat2 shapes cannot be multiplied (8x4 and 5x1)"


def test_traceback_without_message_or_own_frame() -> None:
    error = error_of("Traceback (most recent call last):\nStopIteration\n")
    assert error == PythonError("StopIteration", "")


def test_traceback_keeps_a_message_of_several_lines() -> None:
    error = error_of(
        "Traceback (most recent call last):\nValueError: bad:\n\tsize 3\n\tsize 4\nok\n"
    )
    assert error.message == "bad:\nsize 3\nsize 4"


def test_traceback_keeps_the_cause_of_an_exception() -> None:
    error = error_of("""\
Traceback (most recent call last):
  File "/home/user/job/data.py", line 3, in load
KeyError: 'labels'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/user/job/train.py", line 8, in main
ValueError: no labels
""")
    assert (error.summary, error.line) == ("ValueError: no labels", 8)
    assert error.because is not None
    assert (error.because.summary, error.because.line) == ("KeyError: 'labels'", 3)


def test_chain_of_exceptions_is_reported_by_the_first_known_one() -> None:
    hit, *others = read("""\
Traceback (most recent call last):
OSError: [Errno 28] No space left on device

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/home/user/job/train.py", line 8, in save
ValueError: cannot save
""").hits
    assert (hit.signature.id, others) == ("disk.full", [])
    assert hit.error is not None and hit.error.summary == "ValueError: cannot save"


def test_source_code_in_a_traceback_is_not_matched() -> None:
    (hit,) = read("""\
Traceback (most recent call last):
  File "/home/user/job/train.py", line 8, in save
    raise ValueError("x")  # ModuleNotFoundError: No module named 'x'; No space left on device
ValueError: x
""").hits
    assert hit.signature.id == "python.exception"


def test_exception_of_a_worker_has_the_frame_that_raised_it() -> None:
    text = (PRINTED / "worker-raised.txt").read_text(encoding="utf-8")
    error = error_of(text)
    assert (error.type, error.function) == ("FileNotFoundError", "__getitem__")


def test_same_exception_on_several_ranks_is_one_hit() -> None:
    log = "".join(
        f"[rank{rank}]: Traceback (most recent call last):\n"
        f"[rank{rank}]:   File \"train.py\", line {7 if rank else 9}, in f\n"
        f"[rank{rank}]: ValueError: bad batch {rank}\n"
        for rank in range(8)
    )  # fmt: skip
    assert [hit.ranks for hit in read(log).hits] == [(0,), (1, 2, 3, 4, 5, 6, 7)]


def test_ignored_exception_is_no_hit() -> None:
    ignored = """\
Exception ignored in: <function Loader.__del__ at 0x7f0000000000>
Traceback (most recent call last):
  File "/home/user/job/data.py", line 3, in __del__
AssertionError: can only test a child process
"""
    assert read(ignored * 3).hits == ()
    error = error_of(
        ignored + 'Traceback (most recent call last):\n  File "t.py", line 3\nValueError: bad\n'
    )
    assert error.type == "ValueError"
    assert read("Exception ignored in: <stdout>\nToo many open files\n").hits[0].count == 1


@pytest.mark.parametrize("prefix", ["(Trainer pid=12, ip=10.0.0.1) ", "GPU2: ", "12:03:44 ERROR "])
def test_traceback_ignores_a_prefix_of_its_lines(prefix: str) -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "train.py", line 3, in step',
        "ValueError: bad",
    ]
    text = "".join(f"{prefix}{line}\n{prefix[:-2]}9 step 3 loss 0.25\n" for line in lines)
    error = error_of(text)
    assert (error.type, error.message, error.line) == ("ValueError", "bad", 3)


def test_distributed_checkpoint_error_is_that_of_the_rank() -> None:
    text = (PRINTED / "checkpoint-distributed.txt").read_text(encoding="utf-8")
    hit = read(text).hits[0]
    assert hit.signature.id == "disk.no-file" and hit.ranks == (0, 1)
    assert hit.error is not None and (hit.error.file, hit.error.line) == (
        "/home/user/job/train.py",
        4,
    )


def test_traceback_at_the_end_of_a_log_is_complete() -> None:
    assert error_of("Traceback (most recent call last):\nValueError: bad").message == "bad"


def recorded_error_file() -> bytes:
    text = (PRINTED / "raises-recorded.txt").read_text(encoding="utf-8")
    found = re.search(r'^\{"message": .*\}$', text, re.MULTILINE)
    assert found
    return found[0].encode()


def test_read_error_file_of_torch() -> None:
    read = read_error_file(recorded_error_file())
    assert read is not None
    error, time = read
    assert (error.summary, error.function) == ("KeyError: 'labels'", "main")
    assert time is not None and time > 1_700_000_000


def test_error_file_of_a_rank_is_its_exception() -> None:
    files = ((Source("error.json", rank=1, node="node1"), recorded_error_file()),)
    (hit,) = diagnose([], Evidence(error_files=files)).hits
    assert (hit.signature.id, hit.ranks, hit.nodes) == ("python.exception", (1,), ("node1",))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"message": 3}', b'{"message": {}}', b"[" * 100_000, b"\xff"],
)
def test_read_error_file_of_anything_else_is_none(data: bytes) -> None:
    assert read_error_file(data) is None


def test_read_error_file_without_a_stack_has_the_exception() -> None:
    for message in ("ValueError: bad", {"message": "ValueError: bad", "extraInfo": None}):
        read = read_error_file(json.dumps({"message": message}).encode())
        assert read is not None and "bad" in read[0].summary


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("os.remove(path)", "shared.removed"),
        ("shutil.rmtree(folder)", "shared.removed"),
        ("lock.unlink()", "shared.removed"),
        ("open(path)  # not os.remove(path)", "disk.no-file"),
    ],
)
def test_call_that_raised_tells_a_race_from_a_missing_file(line: str, expected: str) -> None:
    text = f"""Traceback (most recent call last):
  File "/home/user/train.py", line 9, in clean
    {line}
    ^^^^^^^^^
FileNotFoundError: [Errno 2] No such file or directory: '/shared/signal'
"""
    assert read(text).hits[0].signature.id == expected


def test_exception_after_what_torch_compile_raised_belongs_to_it() -> None:
    text = """Traceback (most recent call last):
  File "/home/user/train.py", line 9, in step
torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:
JSONDecodeError: Extra data: line 1 column 214 (char 213)
"""
    (hit,) = read(text).hits
    assert hit.error is not None and "JSONDecodeError" in hit.error.message


def test_call_is_that_of_the_last_frame_outside_of_the_standard_library() -> None:
    text = """Traceback (most recent call last):
  File "/home/user/train.py", line 9, in rotate
    shutil.rmtree(old)
  File "/usr/lib/python3.10/shutil.py", line 713, in rmtree
    orig_st = os.lstat(path)
FileNotFoundError: [Errno 2] No such file or directory: '/shared/step_100'
"""
    (hit,) = read(text).hits
    assert (hit.signature.id, hit.certainty) == ("shared.removed", Certainty.LIKELY)
    assert hit.error is not None and hit.error.call == "shutil.rmtree"
