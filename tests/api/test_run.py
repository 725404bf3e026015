"""A run in the hand of a program, on the embedded cluster."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator import (
    AsyncRun,
    LogLine,
    OrchError,
    Run,
    RunFailed,
    SyncError,
    UsageError,
    aget_run,
    alaunch,
    events,
    get_run,
    launch,
    runs,
)

pytestmark = pytest.mark.cluster

TRAIN = """\
import os, sys, time
rank = int(os.environ["RANK"])
print("rank", rank, *sys.argv[1:], flush=True)
print("to stderr", file=sys.stderr, flush=True)
if "wait" in sys.argv:
    time.sleep(300)
if "fail" in sys.argv and rank == 1:
    raise ValueError("no such column")
with open("out.txt", "w") as file:
    file.write("done")
"""


@pytest.fixture
def project(empty_project: Path) -> Path:
    """A folder that has a script, and a home of the test's own."""
    (empty_project / "train.py").write_text(TRAIN)
    return empty_project


def start(*arguments: str, nodes: int = 1, detach: bool = False) -> Run:
    return launch(
        "train.py", *arguments, local=nodes, launcher="direct", preflight="off", detach=detach
    )


def test_launch_in_the_foreground_returns_a_run_that_has_ended(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[LogLine] = []
    heard: list[events.Event] = []
    threads: set[threading.Thread] = set()

    def hear(line: LogLine) -> None:
        lines.append(line)
        threads.add(threading.current_thread())

    run = launch(
        "train.py", "x", local=2, launcher="direct", preflight="off",
        on_line=hear, on_event=heard.append, timeout="90s", grace=1,
    )  # fmt: skip
    assert run.result is not None
    assert (run.result.outcome, run.result.exit_code) == ("succeeded", 0)
    assert run.result.raise_for_status() == run.result
    assert sorted(line.text for line in lines if line.stream == "stdout") == [
        "rank 0 x",
        "rank 1 x",
    ]
    assert isinstance(heard[-1], events.Ended)
    assert threads == {threading.current_thread()}
    assert capfd.readouterr() == ("", "")
    assert runs() == [run] == [get_run()] == [get_run(run.name.rpartition("-")[2])]
    assert [str(line) for line in run.logs(rank=1, stream="stderr")] == ["r1 local1 │ to stderr"]
    (fetched,) = run.fetch("*.txt", to=project / "results")
    assert (fetched.folder / "out.txt").read_text() == "done"


def test_run_that_fails_raises_for_status_with_its_cause(project: Path) -> None:
    run = start("fail", nodes=2)
    assert run.result is not None
    assert (run.result.outcome, run.result.exit_code) == ("failed", 1)
    assert {rank: state.exit_code for rank, state in run.result.ranks.items()}[1] == 1
    with pytest.raises(RunFailed) as failure:
        run.result.raise_for_status()
    assert isinstance(failure.value, OrchError)
    assert failure.value.result == run.result
    assert failure.value.exit_code == 1
    assert run.name in str(failure.value)
    assert failure.value.remedy
    verdict = run.diagnose().verdict
    assert verdict is not None and verdict.error is not None
    assert verdict.error.summary == "ValueError: no such column"


def test_verdict_of_a_detached_run_has_the_cause_of_a_site_signature(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "site.toml").write_text(
        "[[signature]]\n"
        "id = 'site.table'\n"
        "meaning = 'the table of features has changed'\n"
        "patterns = ['no such column']\n"
        "cause = 'the export of last night has other columns'\n"
        "fix = 'pin the version of the table'\n"
        "[[signature]]\n"
        "id = 'site.other'\n"
    )
    monkeypatch.setenv("ORCH_SIGNATURES", "site.toml")
    run = start("fail", nodes=2, detach=True)
    heard: list[events.Event] = []
    verdict = run.wait(timeout=60, on_event=heard.append).verdict
    assert verdict is not None
    assert (verdict.signature, verdict.fix) == ("site.table", "pin the version of the table")
    warned = [event.message for event in heard if isinstance(event, events.Warned)]
    assert [message for message in warned if "'site.other' of" in message]


def test_detached_run_is_seen_and_stopped_from_another_process(project: Path) -> None:
    run = start("wait", detach=True)
    try:
        assert run.result is None
        with pytest.raises(TimeoutError, match=f"run {run.name} has not ended within 0.1 s"):
            run.wait(timeout=0.1)
        script = (
            "from orchestrator import get_run\n"
            "run = get_run('train')\n"
            "line = next(run.logs(rank=0, stream='stdout', follow=True))\n"
            "print(line.text, run.status().nodes[0].state)\n"
            "print(run.stop(grace=1).outcome)\n"
        )
        other = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert other.stdout.splitlines() == ["rank 0 wait running", "stopped"], other.stderr
        assert run.wait().outcome == "stopped"
    finally:
        run.stop(grace=0)


async def test_blocking_calls_within_a_running_event_loop_return(project: Path) -> None:
    run = start()
    assert run.wait().succeeded
    assert [line.text for line in run.logs(stream="stdout")] == ["rank 0"]
    assert run.status().nodes[0].state == "ended"


async def test_asynchronous_functions_do_the_same(project: Path) -> None:
    lines: list[LogLine] = []
    run = await alaunch(
        "train.py", local=1, launcher="direct", preflight="off", on_line=lines.append
    )
    assert isinstance(run, AsyncRun)
    assert (await run.wait()).succeeded
    assert await aget_run() == run
    followed = [line async for line in run.logs(follow=True)]
    assert sorted(map(str, followed)) == sorted(map(str, lines))
    assert (await run.status()).nodes[0].name == "local0"
    assert (await run.diagnose()).verdict is None
    (fetched,) = await run.fetch(dry_run=True)
    assert [file.path for file in fetched.files] == ["out.txt"]


async def test_cancelled_wait_does_not_end_the_run(project: Path) -> None:
    run = await alaunch(
        "train.py", "wait", local=1, launcher="direct", preflight="off", detach=True
    )
    try:
        waiting = asyncio.create_task(run.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert run.result is None
    finally:
        assert (await run.stop(grace=0)).outcome == "stopped"


async def test_cancelled_launch_does_not_end_the_run(project: Path) -> None:
    up = asyncio.Event()
    launching = asyncio.create_task(
        alaunch(
            "train.py", "wait", local=1, launcher="direct", preflight="off",
            on_line=lambda line: up.set(),
        )
    )  # fmt: skip
    await up.wait()
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    run = await aget_run()
    try:
        assert (await run.status()).state == "running"
    finally:
        assert (await run.stop(grace=0)).outcome == "stopped"


def test_keyboard_interrupt_of_a_launch_stops_the_run_and_is_raised(project: Path) -> None:
    def interrupt(line: LogLine) -> None:
        if line.stream == "stdout":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        launch(
            "train.py", "wait", local=1, launcher="direct", preflight="off",
            on_line=interrupt,
        )  # fmt: skip
    result = get_run().result
    assert result is not None
    assert (result.outcome, result.exit_code) == ("stopped", 130)


def test_keyboard_interrupt_of_a_wait_leaves_the_run_alone(project: Path) -> None:
    run = start("wait", detach=True)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.wait(on_event=lambda event: signal.raise_signal(signal.SIGINT))
        assert run.result is None
    finally:
        run.stop(grace=0)


def test_exception_of_a_callback_is_raised_by_the_call(project: Path) -> None:
    def refuse(event: events.Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        launch("train.py", local=1, launcher="direct", preflight="off", on_event=refuse)
    assert not [thread for thread in threading.enumerate() if thread.name == "orch"]


def test_abandoned_iterator_of_logs_ends_its_thread(project: Path) -> None:
    run = start()
    lines = run.logs()
    next(lines)
    lines.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "orch"]


def test_fetch_that_cannot_reach_a_node_raises_with_its_name(project: Path) -> None:
    run = start()
    import shutil

    for folder in project.parent.glob("home/state/orch/local/*"):
        shutil.rmtree(folder)
        folder.write_text("in the way")
    with pytest.raises((SyncError, OrchError), match="local0"):
        run.fetch()


def test_call_on_a_removed_run_is_an_error(project: Path) -> None:
    run = Run(project / "train-babab")
    with pytest.raises(OrchError, match="run train-babab was removed"):
        run.wait()


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("inventory", "hosts"),
        ("nproc_per_node", "nproc"),
        ("restart", "restarts"),
        ("dettach", "detach"),
    ],
)
def test_unknown_keyword_is_a_type_error_that_names_the_one_that_is_meant(
    keyword: str, meant: str
) -> None:
    with pytest.raises(TypeError, match=rf"launch\(\).*{keyword!r}; did you mean {meant!r}\?"):
        launch("train.py", **{keyword: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"local": 0}, "--local 0: expected a number from 1 to 64"),
        ({"local": 1, "hosts": "x.yaml"}, "--local and -i exclude each other"),
        ({"hosts": "none.yaml"}, "none.yaml: there is no such inventory"),
        ({"hosts": ["a b"]}, "hosts"),
        ({"local": 1, "timeout": "soon"}, "--timeout soon: expected a time of at least 0 s"),
        ({"local": 1, "preflight": "no"}, "--preflight no: expected one of quick, full, off"),
        ({"local": 1, "launcher": "flux"}, "unknown launcher 'flux'"),
        ({"local": 1, "fetch": "*.pt"}, "--fetch: expected a list of words"),
        ({"local": 1, "env": {"A=B": "1"}}, "expected a variable's name"),
    ],
)
def test_invalid_value_has_the_message_of_the_command_line(
    project: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        launch("train.py", **options)  # type: ignore[arg-type]


def test_hosts_are_read_from_a_list_or_an_inventory(project: Path) -> None:
    from orchestrator.api.hosts import read_hosts

    inventory = read_hosts(["ann@node0:2222", "gpu[1-2]"])
    assert [host.name for host in inventory.hosts] == ["node0", "gpu1", "gpu2"]
    assert (inventory.hosts[0].user, inventory.hosts[0].port) == ("ann", 2222)
    assert read_hosts(inventory) is inventory


def test_keywords_are_the_options_of_the_command_line() -> None:
    from typer.main import get_command

    from orchestrator.api.preflight import PreflightOptions
    from orchestrator.api.request import LaunchOptions
    from orchestrator.cli.app import app

    shown = {
        "host_list",  # another spelling of hosts
        "output",
        "rank",
        "timestamps",
        "dry_run",
        "verbose",
        "log_file",
        "profile",
        "script",
        "arguments",
        "help",
    }
    for name, keywords in (("launch", LaunchOptions), ("preflight", PreflightOptions)):
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        options = {parameter.name for parameter in command.params} - shown
        assert set(keywords.__annotations__) == options
