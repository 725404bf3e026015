"""Nodes that a local program reaches: the program is `sh`, which runs scripts on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConnectionLost, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.base import Node, ShellError
from orchestrator.remote.command.transport import CommandTransport
from orchestrator.remote.process import ProcessChannel
from orchestrator.remote.transports import SavedTransport, create, restore, saved

HOST = Host(name="a")


async def reach(*words: str, host: Host = HOST, **options: Any) -> Node | Unreachable:
    (result,) = await CommandTransport(words, **options).connect_all([host])
    return result


async def node_of(*words: str, **options: Any) -> Node:
    result = await reach(*words, **options)
    assert not isinstance(result, Unreachable), result
    return result


async def verdict_of(*words: str, **options: Any) -> Unreachable:
    result = await reach(*words, **options)
    assert isinstance(result, Unreachable)
    return result


async def test_script_runs_with_its_streams_and_exit_code() -> None:
    node = await node_of("sh", "-c", "{script}")
    done = await node.run("cat; echo err >&2; exit 4", input=b"in\0\xff")
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"in\0\xff", b"err\n")
    assert (await node.run("sh -c 'kill -9 $$'")).exit_code == 137
    await node.close()


async def test_script_reads_and_writes_while_it_runs() -> None:
    node = await node_of("sh", "-c", "{script}")
    channel = await node.open('while read -r word; do echo "<$word>"; done')
    for word in (b"one", b"two"):
        await channel.write(word + b"\n")
        assert await channel.readline() == b"<%b>\n" % word
    channel.write_eof()
    assert (await channel.read(), await channel.wait()) == (b"", 0)
    await node.close()


async def test_large_output_arrives_in_whole() -> None:
    node = await node_of("sh", "-c", "{script}")
    channel = await node.open("head -c 20000000 /dev/zero")
    count = 0
    while data := await channel.read():
        count += len(data)
    assert (count, await channel.wait()) == (20_000_000, 0)
    await node.close()


async def test_script_with_any_bytes_arrives_unchanged() -> None:
    node = await node_of("sh", "-c", "{script}")
    text = "'\"\\$`!\n\t; (x) é \udcff #"
    done = await node.run(f"cat <<'END'\n{text}\nEND\n# )")
    assert done.stdout == f"{text}\n".encode(errors="surrogateescape")
    await node.close()


@pytest.mark.parametrize(
    "words", [("sh", "-c", "{script}"), ("setsid", "--wait", "sh", "-c", "{script}")]
)
async def test_script_leads_its_process_group(words: tuple[str, ...]) -> None:
    node = await node_of(*words)
    done = await node.run("read -r _ _ _ _ group _ </proc/$$/stat; echo $(($$ - group))")
    assert done.stdout == b"0\n"
    await node.close()


async def test_program_without_a_process_group_gets_one() -> None:
    node = await node_of("sh", "-c", 'sh -c "$1" & wait $!', "forks", "{script}")
    done = await node.run("read -r _ _ _ _ group _ </proc/$$/stat; echo $(($$ - group))")
    assert done.stdout == b"0\n"
    await node.close()


async def test_program_that_is_killed_is_a_lost_connection() -> None:
    node = await node_of("sh", "-c", "{script}")
    channel = await node.open("echo begun; cat")
    assert isinstance(channel, ProcessChannel)
    assert await channel.readline() == b"begun\n"
    os.killpg(channel.pid, signal.SIGKILL)
    with pytest.raises(ConnectionLost, match="its program ended with code 137: without a message"):
        await channel.readline()
    with pytest.raises(ConnectionLost):
        await channel.wait()
    await node.close()


async def test_program_that_breaks_off_is_a_lost_connection_with_its_message(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    program = f'sh -c "$1" & echo $! > {pid}; wait $!; echo "link is down" >&2; exit 0'
    node = await node_of("sh", "-c", program, "breaks", "{script}")
    channel = await node.open("echo begun; sleep 60")
    assert await channel.readline() == b"begun\n"
    os.killpg(int(pid.read_text()), signal.SIGKILL)
    with pytest.raises(ConnectionLost, match=r"ended with code 0: .*link is down"):
        await channel.readline()
    await node.close()


async def test_exit_code_is_that_of_the_script_whatever_the_program_makes_of_it() -> None:
    node = await node_of("sh", "-c", 'sh -c "$1"; exit 0', "hides", "{script}")
    assert (await node.run("exit 7")).exit_code == 7
    await node.close()


async def test_message_of_the_program_after_the_script_is_not_the_scripts() -> None:
    """As `command terminated with exit code 4` of kubectl."""
    program = 'sh -c "$1"; echo "command terminated" >&2'
    node = await node_of("sh", "-c", program, "comments", "{script}")
    done = await node.run("echo err >&2; exit 4")
    assert (done.exit_code, done.stderr) == (4, b"err\n")
    await node.close()


async def test_process_that_keeps_stderr_open_is_not_awaited(tmp_path: Path) -> None:
    """As the master of ssh's ControlPersist."""
    program = f'sleep 60 >/dev/null & echo $! >> {tmp_path / "pids"}; sh -c "$1"'
    node = await node_of("sh", "-c", program, "leaves", "{script}")
    began = time.monotonic()
    assert (await node.run("echo out")).stdout == b"out\n"
    assert time.monotonic() - began < 30
    await node.close()
    for pid in (tmp_path / "pids").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


async def test_output_before_the_script_is_noise() -> None:
    node = await node_of("sh", "-c", 'echo Welcome; sh -c "$1"', "greets", "{script}")
    channel = await node.open("echo out")
    assert (await channel.read(), channel.noise) == (b"out\n", b"Welcome\n")
    await node.close()


async def test_missing_program_is_reported() -> None:
    verdict = await verdict_of("no-such-program", "{script}")
    assert (verdict.node, verdict.cause) == ("a", "program")
    assert verdict.message == "there is no program no-such-program on this machine"


@pytest.mark.parametrize(
    ("program", "cause", "message"),
    [
        ("echo 'no route' >&2; exit 4", "program", "sh failed with code 4: no route"),
        ("echo 'no\033[2J route'; exit 4", "program", "sh failed with code 4: no [2J route"),
        ("exit 4", "program", "sh failed with code 4 and printed nothing"),
        ("kill -9 $$", "program", "sh failed with code 137 and printed nothing"),
        ("exit 0", "shell", "sh ended without running orch's script"),
        (
            "echo 'exec: \"sh\": executable file not found' >&2; exit 127",
            "shell",
            "sh failed with code 127",
        ),
        ("yes", "shell", "sh prints without end (it printed: y y"),
        (
            "echo wait >&2; exec sleep 60",
            "timed-out",
            "did not run a command there within 2 s (it printed: wait)",
        ),
    ],
)
async def test_program_that_runs_no_script_is_reported(
    program: str, cause: str, message: str
) -> None:
    verdict = await verdict_of("sh", "-c", program, "fails", "{script}", timeout=2.0)
    assert verdict.cause == cause
    assert message in verdict.message


async def test_remedy_is_a_command_to_paste() -> None:
    verdict = await verdict_of("sh", "-c", "exit 4", "{name}", "{script}")
    assert verdict.remedy == "try: sh -c 'exit 4' a 'echo it works'"


async def test_arguments_joined_by_a_shell_are_recognised() -> None:
    """`ssh HOST sh -c SCRIPT` joins its words: sh gets the first word of the script only."""
    verdict = await verdict_of("sh", "-c", 'sh -c "$*"', "joins", "sh", "-c", "{script}")
    assert verdict.cause == "shell"
    assert "write {quoted_script} in place of {script}" in verdict.remedy
    node = await node_of("sh", "-c", 'sh -c "$*"', "joins", "sh", "-c", "{quoted_script}")
    assert (await node.run("echo 'a  b'")).stdout == b"a  b\n"
    await node.close()


async def test_script_of_a_node_that_stops_working_has_a_verdict(tmp_path: Path) -> None:
    flag = tmp_path / "up"
    flag.touch()
    node = await node_of("sh", "-c", f'test -e {flag} || exit 9; sh -c "$1"', "fails", "{script}")
    flag.unlink()
    with pytest.raises(ShellError, match="sh failed with code 9"):
        await node.open(":")
    await node.close()


async def test_silent_node_that_does_not_answer_is_lost(tmp_path: Path) -> None:
    """The program of the open channel does not notice that the node has gone."""
    flag = tmp_path / "up"
    flag.touch()
    program = f'test -e {flag} || exec sleep 60; sh -c "$1"'
    transport = CommandTransport(["sh", "-c", program, "hangs", "{script}"], timeout=0.5)
    (node,) = await transport.with_silence_limit(0.4).connect_all([HOST])
    assert not isinstance(node, Unreachable)
    channel = await node.open("echo begun; cat")
    assert await channel.readline() == b"begun\n"
    with pytest.raises(TimeoutError):  # a node that answers is not lost
        await asyncio.wait_for(channel.readline(), 2)
    flag.unlink()
    with pytest.raises(ConnectionLost, match="did not run a command there within"):
        await asyncio.wait_for(channel.readline(), 30)
    with pytest.raises(ConnectionLost):
        await node.open(":")
    await node.close()


async def test_keys_without_effect_are_warned_of() -> None:
    host = Host(name="a", user="ann", port=22, proxy_jump="gate")
    node = await node_of("sh", "-c", "{script}", "{user}", host=host)
    assert node.warnings == ("port, proxy_jump in the inventory: no effect with transport command",)
    await node.close()


async def test_hosts_are_reached_side_by_side_and_reported_one_by_one(tmp_path: Path) -> None:
    hosts = [Host(name=f"n{index}") for index in range(40)]
    program = 'case $0 in n7) exit 1 ;; *) sh -c "$1" ;; esac'
    seen: dict[str, object] = {}
    results = await CommandTransport(["sh", "-c", program, "{name}", "{script}"]).connect_all(
        hosts, on_result=lambda name, result, seconds: seen.update({name: result})
    )
    assert list(seen.values()).count(results[7]) == 1
    assert [seen[host.name] for host in hosts] == results
    assert [type(each) is Unreachable for each in results] == [host.name == "n7" for host in hosts]
    await asyncio.gather(*(node.close() for node in results if not isinstance(node, Unreachable)))


async def test_cancelled_connect_leaves_no_program(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    transport = CommandTransport(["sh", "-c", f"echo $$ > {pid}; exec sleep 60", "{script}"])
    task = asyncio.create_task(transport.connect_all([HOST]))
    number = int(await asyncio.to_thread(pid.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


async def test_program_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    verdict = await verdict_of(str(broken), "{script}")
    assert "cannot be started: No such file or directory" in verdict.message


async def test_too_long_script_is_refused() -> None:
    node = await node_of("sh", "-c", "{script}")
    with pytest.raises(ValueError, match="too long for a command line"):
        await node.open(":" * 200_000)
    await node.close()


@pytest.mark.parametrize(
    "options",
    [
        {"command": ["sh", "-c", "{script}"]},
        {"command": ["x", 1, "{quoted_script}"], "timeout": 3.0, "outlives_controller": False},
    ],
)
def test_transport_is_restored_from_json_as_it_was_saved(options: Mapping[str, Any]) -> None:
    transport = create("command", **options)
    said = saved(transport)
    again = restore(SavedTransport(said.name, json.loads(json.dumps(said.options))))
    assert again.describe() == transport.describe()
    assert again.capabilities == transport.capabilities
    assert again.capabilities.outlives_controller is options.get("outlives_controller", True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "its command is missing; write it in the inventory"),
        ({"command": ["x"]}, "exactly one {script}"),
        (
            {"command": ["x", "{script}"], "outlives_controller": "no"},
            "outlives_controller is true or",
        ),
        ({"command": ["x", "{script}"], "namespace": "x"}, "it has no option 'namespace'"),
    ],
)
def test_invalid_options_are_refused(options: Mapping[str, Any], why: str) -> None:
    with pytest.raises(Exception, match="transport command: ") as caught:
        create("command", **options)
    assert why in str(caught.value)
