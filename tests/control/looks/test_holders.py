"""Who holds a port or a lock."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.control.looks.registry import questions

from .subjects import found, holder, place, subject_of

IN_USE = "OSError: [Errno 98] Address already in use\n"


LISTEN = (
    "RuntimeError: The server socket has failed to listen on any local network address. port: 29512, "
    "useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use"
)
BIND = "The server socket has failed to bind to [::]:29513 (errno: 98 - Address already in use)."
ASYNCIO = (
    "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8265): address already in "
    "use"
)
CODE = (
    'Traceback (most recent call last):\n  File "t.py", line 3, in <module>\n    s.bind(("", 6543))\n'
    + IN_USE
)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        (LISTEN, [29512]),
        (BIND, [29513]),
        (ASYNCIO, [8265]),
        ("listen tcp 127.0.0.1:6006: bind: address already in use", [6006]),
        (CODE, [6543]),
        (IN_USE, [29500]),
    ],
)
def test_port_is_read_from_the_message_or_the_code(text: str, ports: list[int]) -> None:
    assert questions(subject_of(text))["holders.ports"] == {"numbers": ports}


def held(port: int = 6543, **more: Any) -> list[dict[str, Any]]:
    one = {**holder(), "address": "0.0.0.0", "listens": True, **more}
    return [{"port": port, "holders": [one], "waiting": 0}]


def test_holder_of_a_port_is_named_with_its_command_and_age() -> None:
    seen = found(subject_of(IN_USE), holders_ports=held())
    assert seen.cause is not None
    assert seen.cause.text == (
        "port 6543 is held by process 4711 (python serve.py) of user bob, for 2 h"
    )
    assert (
        seen.cause.fix == "kill 4711 on n0, if it is left over; or use another port in the script"
    )


def test_rank_of_the_same_run_is_a_clash_between_ranks() -> None:
    seen = found(subject_of(IN_USE), holders_ports=held(pid=101, run="r"))
    assert seen.cause is not None
    assert "rank 1 of this run" in seen.cause.text
    assert "os.environ['LOCAL_RANK']" in seen.cause.fix


def test_other_run_is_stopped_by_its_name_only_if_that_is_one() -> None:
    seen = found(subject_of(IN_USE), holders_ports=held(run="train-lusab"))
    assert seen.cause is not None
    assert seen.cause.fix.startswith("orch stop train-lusab, if nobody needs")
    seen = found(subject_of(IN_USE), holders_ports=held(run="$(reboot)"))
    assert seen.cause is not None
    assert "reboot" not in seen.cause.fix + seen.cause.text


def test_unknown_process_of_another_user_has_no_command_to_end_it() -> None:
    seen = found(subject_of(IN_USE), holders_ports=held(pid=None, command=None, age=None))
    assert seen.cause is not None
    assert seen.cause.text == "port 6543 is held by a process of user bob"
    assert "kill" not in seen.cause.fix


def test_main_port_is_changed_by_its_option() -> None:
    seen = found(subject_of(IN_USE), holders_ports=held(29500))
    assert seen.cause is not None
    assert "--main-port 29501" in seen.cause.fix


def test_port_that_is_free_now_explains_nothing() -> None:
    free = [{"port": 6543, "holders": [], "waiting": 3}]
    seen = found(subject_of(IN_USE), holders_ports=free)
    assert (seen.cause, seen.looked) == (None, ("port 6543: free now, 3 closed connections kept",))


def test_secrets_in_the_command_of_a_holder_are_masked() -> None:
    seen = found(
        subject_of(IN_USE), holders_ports=held(command="serve --token=hunter2 --password x")
    )
    assert "hunter2" not in str(seen)


TIMEOUT = "filelock._error.Timeout: The file lock '/c/a b.lock' could not be acquired.\n"


def file(*holders: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "path": "/c/a b.lock",
            "exists": True,
            "age": 90.0,
            "holders": [*holders],
            "hidden": False,
            **more,
        }
    ]


def test_lock_without_holder_was_left_and_may_be_removed() -> None:
    seen = found(subject_of(TIMEOUT), holders_files=file(), places=[place("/c/a b.lock")])
    assert seen.cause is not None
    assert "one that has ended left it, changed 1 min ago" in seen.cause.text
    assert seen.cause.fix == "remove it there: rm '/c/a b.lock'"


@pytest.mark.parametrize("more", [{"hidden": True}, {}])
def test_lock_that_others_may_hold_is_not_said_to_be_left(more: dict[str, Any]) -> None:
    where = place("/c/a b.lock", kind="ext4" if more else "nfs4")
    seen = found(subject_of(TIMEOUT), holders_files=file(**more), places=[where])
    assert seen.cause is None


def test_holder_of_a_lock_is_named() -> None:
    seen = found(
        subject_of(TIMEOUT),
        holders_files=file({**holder(), "locks": True}),
        places=[place("/c/a b.lock")],
    )
    assert seen.cause is not None
    assert "is held by process 4711 (python serve.py) of user bob" in seen.cause.text
    assert "kill 4711" in seen.cause.fix
