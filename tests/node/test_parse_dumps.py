"""Parsing dumps of faulthandler and py-spy: recorded ones, and anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.parse_dumps import MAX_FRAMES, MAX_THREADS, read_dump, read_spy

# Python 3.8 to 3.13.
DUMP = """\
Thread 0x00007f1d2effd6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/usr/lib/python3.11/queue.py", line 180 in get

Current thread 0x00007f1d3a3d9740 (most recent call first):
  File "/srv/job/w\\xe4rk.py", line 88 in all_reduce
  File "<frozen runpy>", line 88 in _run_code
  File "/srv/job/train.py", line ??? in <module>
"""

SPY: list[dict[str, Any]] = [
    {
        "pid": 8617, "thread_id": 140122507040448, "thread_name": "pin", "os_thread_id": 8619,
        "active": False, "owns_gil": False, "process_info": None,
        "frames": [
            {"name": "Queue.get", "filename": "/usr/lib/python3.11/queue.py", "module": None,
             "short_filename": "queue.py", "line": 180, "locals": None, "is_entry": True,
             "is_shim_entry": False},
        ],
    },
    {
        "pid": 8617, "thread_id": 140122518055808, "thread_name": None, "os_thread_id": 8617,
        "active": True, "owns_gil": True, "process_info": None,
        "frames": [
            {"name": "<module>", "filename": "/srv/job/train.py", "module": None,
             "short_filename": "train.py", "line": 6, "locals": None, "is_entry": True,
             "is_shim_entry": True},
        ],
    },
]  # fmt: skip


def test_main_thread_is_the_last_of_a_dump() -> None:
    assert read_dump(DUMP) == [
        {
            "name": "",
            "main": False,
            "frames": [
                ["wait", "/usr/lib/python3.11/threading.py", 324],
                ["get", "/usr/lib/python3.11/queue.py", 180],
            ],
        },
        {
            "name": "MainThread",
            "main": True,
            "frames": [
                ["all_reduce", "/srv/job/w\\xe4rk.py", 88],
                ["_run_code", "<frozen runpy>", 88],
                ["<module>", "/srv/job/train.py", 0],
            ],
        },
    ]


def test_read_dump_has_names_of_threads() -> None:
    text = 'Thread 0x00007f1d [loader (1)] (most recent call first):\n  File "a.py", line 1 in f\n'
    (thread,) = read_dump(text)
    assert (thread["name"], thread["frames"]) == ("loader (1)", [["f", "a.py", 1]])


def test_read_dump_of_too_many_threads_has_no_main_one() -> None:
    assert [thread["main"] for thread in read_dump(DUMP + "...\n")] == [False, False]


def test_thread_outside_of_python_has_no_frames() -> None:
    (thread,) = read_dump("Thread 0x1f (most recent call first):\n  <no Python frame>\n")
    assert (thread["main"], thread["frames"]) == (True, [])


@given(st.text(), st.integers(0, len(DUMP)))
def test_read_dump_of_any_text_raises_nothing(noise: str, cut: int) -> None:
    for text in (noise, noise + "\n" + DUMP, DUMP[:cut], DUMP[cut:] + noise):
        for thread in read_dump(text):
            assert set(thread) == {"name", "main", "frames"}
            for function, path, line in thread["frames"]:
                assert isinstance(function, str) and isinstance(path, str) and line >= 0


def test_read_dump_bounds_threads_frames_and_names() -> None:
    header = "Thread 0x1 (most recent call first):\n"
    frame = '  File "{}", line 1 in {}\n'.format("x" * 600, "y" * 600)
    found = read_dump((header + frame * (MAX_FRAMES + 1)) * (MAX_THREADS + 1))
    assert len(found) == MAX_THREADS
    assert {len(thread["frames"]) for thread in found} == {MAX_FRAMES}
    assert max(len(text) for text in found[0]["frames"][0][:2]) < 550


def test_read_spy_finds_the_main_thread_by_its_id() -> None:
    assert read_spy(json.dumps(SPY), 8617) == [
        {"name": "pin", "main": False, "frames": [["get", "/usr/lib/python3.11/queue.py", 180]]},
        {"name": "", "main": True, "frames": [["<module>", "/srv/job/train.py", 6]]},
    ]


@pytest.mark.parametrize("key", ["thread_name", "os_thread_id", "frames"])
def test_read_spy_without_a_key_is_none(key: str) -> None:
    threads = [{name: value for name, value in SPY[0].items() if name != key}]
    assert read_spy(json.dumps(threads), 1) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["frames", "name", "filename", "line", "thread_name", "os_thread_id"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON.map(json.dumps) | st.text())
def test_read_spy_of_any_text_raises_nothing(text: str) -> None:
    found = read_spy(text, 1)
    assert found is None or all(set(thread) == {"name", "main", "frames"} for thread in found)
