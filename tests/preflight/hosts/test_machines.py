"""Verdicts on hosts: reachable, distinct, silent logins, lingering, processes of other jobs."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SyncError, Unreachable
from orchestrator.preflight.answers import reader
from orchestrator.preflight.hosts import login
from orchestrator.preflight.hosts import machines as hosts
from orchestrator.preflight.hosts.login import LOGIND, Logins, Printed, Source
from orchestrator.preflight.hosts.orphans import PROCESSES
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Finding, NoAnswer, Status

from ..contexts import answered, brief, make_context

CHECKS = {check.id: check for check in hosts.CHECKS}


def identity(index: int, **more: Any) -> dict[str, Any]:
    usual = {"machine": f"m{index}", "boot": f"b{index}", "mac": f"02:00:00:00:00:0{index}"}
    return {**usual, "gpus": [f"GPU-{index}"], **more}


def unique(*identities: dict[str, Any], **more: Any) -> list[Finding]:
    answers = answered(hosts.IDENTITY, *identities)
    return list(
        judge_check(CHECKS["host.unique"], make_context(len(identities), answers=answers, **more))
    )


# -- ssh.reach -------------------------------------------------------------------------------------


def test_nodes_unreachable_for_one_reason_are_one_finding() -> None:
    down = [
        Unreachable(
            f"n{i}",
            "timed-out",
            f"no answer from 10.0.0.{i} within 10 s",
            "check it",
            place=f"10.0.0.{i}",
        )
        for i in (1, 2)
    ]
    other = Unreachable("n3", "refused", "10.0.0.3:22 refuses connections", "start sshd")
    found = judge_check(CHECKS["ssh.reach"], make_context(1, unreachable=(*down, other)))
    assert brief(found) == [("fail", "n1,n2"), ("fail", "n3"), ("pass", "node0")]
    assert found[0].message == "no answer from 10.0.0.[1-2] within 10 s"
    assert found[0].data["n2"]["message"] == "no answer from 10.0.0.2 within 10 s"
    assert found[0].remedy is not None
    assert (found[0].remedy.text, found[0].remedy.commands) == ("check it", ())


def test_different_remedies_are_separate_findings() -> None:
    denied = [
        Unreachable(n, "authentication", f"{n} does not let u in", f"ssh-copy-id -p {port} u@{n}")
        for n, port in (("a", 22), ("b", 23))
    ]
    found = judge_check(CHECKS["ssh.reach"], make_context(1, unreachable=tuple(denied)))
    assert [f.remedy.text for f in found if f.remedy] == [
        "ssh-copy-id -p 22 u@a",
        "ssh-copy-id -p 23 u@b",
    ]


# -- host.unique -----------------------------------------------------------------------------------


def test_different_machines_pass() -> None:
    assert brief(unique(identity(0), identity(1))) == [("pass", "node0,node1")]


def test_two_names_of_one_machine_among_others_fail() -> None:
    same = {"identity": "boot0/net:[0]"}
    found = unique(identity(0), identity(0), identity(2), facts_of={1: same})
    assert found[0].status is Status.FAIL
    assert (found[0].nodes, found[0].message) == (
        ("node0", "node1"),
        "are 2 names of one machine (node0)",
    )


def test_one_machine_with_all_names_passes() -> None:
    same = {"identity": "boot0/net:[0]"}
    found = unique(identity(0), identity(0), facts_of={0: same, 1: same})
    assert brief(found) == [("pass", "node0,node1")]


def test_clones_with_one_machine_id_warn_and_containers_of_one_machine_pass() -> None:
    (clones,) = unique(identity(0), identity(1, machine="m0"))
    assert (clones.status, clones.nodes) == (Status.WARN, ("node0", "node1"))
    assert clones.remedy is not None
    assert clones.remedy.nodes == ("node1",)
    assert "systemd-machine-id-setup" in clones.remedy.commands[0]
    containers = unique(identity(0), identity(1, machine="m0", boot="b0"))
    assert brief(containers) == [("pass", "node0,node1")]


def test_containers_with_one_name_on_one_machine_warn() -> None:
    name = {"hostname": "worker"}
    found = unique(identity(0), identity(1, boot="b0"), facts_of={0: name, 1: name})
    assert brief(found) == [("warn", "node0,node1")]
    assert "all called worker" in found[0].message
    elsewhere = unique(identity(0), identity(1), facts_of={0: name, 1: name})
    assert brief(elsewhere) == [("pass", "node0,node1")]


def test_one_hardware_address_on_two_machines_fails() -> None:
    mac = identity(0)["mac"]
    (found,) = unique(identity(0), identity(1, mac=mac), identity(2))
    assert (found.status, found.nodes) == (Status.FAIL, ("node0", "node1"))
    assert mac in found.message
    nobodys = "00:00:00:00:00:00"
    assert brief(unique(identity(0, mac=nobodys), identity(1, mac=nobodys))) == [
        ("pass", "node0,node1")
    ]


def test_gpu_seen_by_two_nodes_fails() -> None:
    (found,) = unique(identity(0), identity(1, boot="b0", gpus=["GPU-0", "GPU-1"]))
    assert (found.status, found.nodes) == (Status.FAIL, ("node0", "node1"))
    assert "GPU-0" in found.message
    assert found.data == {"gpus": ["GPU-0"]}


def test_node_without_identity_is_incomplete() -> None:
    answers = {"host.identity": [hosts.IDENTITY.parse(identity(0)), NoAnswer("too late")]}
    found = judge_check(CHECKS["host.unique"], make_context(2, answers=answers))
    assert brief(found) == [("incomplete", "node1")]


# -- ssh.clean -------------------------------------------------------------------------------------


def clean(*printed: Printed | NoAnswer) -> list[Finding]:
    of = {f"node{i}": each for i, each in enumerate(printed)}
    return list(
        judge_check(CHECKS["ssh.clean"], make_context(len(printed), measured={Logins: Logins(of)}))
    )


def test_silent_login_passes_with_its_stderr_in_the_data() -> None:
    (found,) = clean(Printed((), "bash: warning: setlocale"), Printed((), ""))
    assert (found.status, found.nodes) == (Status.PASS, ("node0", "node1"))
    assert found.data["node0"]["errors"] == "bash: warning: setlocale"


def test_output_from_one_source_is_one_finding_with_its_line() -> None:
    source = Source("/home/u/.bashrc", 3, 'echo "Hello from $(hostname)"')
    (found,) = clean(*(Printed((f"Hello from n{i}",), "", (source,)) for i in range(2)))
    assert (found.status, found.nodes) == (Status.WARN, ("node0", "node1"))
    assert "/home/u/.bashrc, line 3" in found.message
    assert found.remedy is not None
    assert found.remedy.commands == (
        r"sed -i --follow-symlinks '3s/^/[[ $- == *i* ]] \&\& /' /home/u/.bashrc",
    )


def test_output_from_an_unknown_source_is_shown() -> None:
    (found,) = clean(Printed(("Hello",), "", (None,)))
    assert "prints “Hello”" in found.message
    assert found.remedy is not None
    assert found.remedy.commands == ()


@pytest.mark.parametrize(
    "source",
    [
        Source("/home/u/.profile", 1, "echo hello"),  # read by shells without [[
        Source("/home/u/.bashrc", 1, "if true; then"),
        Source("/home/u/.bashrc", 1, "echo hello; export A=1"),
        Source("/home/u/.bashrc", 1, "cat <<EOF"),
        Source("/home/u/.bashrc", 1, 'echo "two'),
        Source("/home/u/.bashrc", 1, "echo two \\"),
    ],
)
def test_source_that_is_not_a_simple_command_has_no_line_to_paste(source: Source) -> None:
    (found,) = clean(Printed(("hello",), "", (source,)))
    assert found.remedy is not None
    assert found.remedy.commands == ()


def test_pasted_line_silences_only_shells_that_are_not_interactive(tmp_path: Path) -> None:
    bashrc = tmp_path / ".bashrc"
    bashrc.write_text("export A=1\necho 'it is' \"me & you\"\nexport B=2\n")
    source = Source(str(bashrc), 2, "echo 'it is' \"me & you\"")
    (found,) = clean(Printed(("it is me & you",), "", (source,)))
    assert found.remedy is not None
    for command in found.remedy.commands:
        subprocess.run(["bash", "-c", command], check=True)
    read = f"source {bashrc}; echo $A$B"
    quiet = subprocess.run(["bash", "-c", read], capture_output=True, text=True, check=True)
    assert quiet.stdout == "12\n"
    person = subprocess.run(
        ["bash", "--norc", "-ic", read], capture_output=True, text=True, check=True
    )
    assert person.stdout == "it is me & you\n12\n"


def test_login_that_hangs_is_incomplete() -> None:
    assert brief(clean(NoAnswer("no end"))) == [("incomplete", "node0")]
    assert brief(judge_check(CHECKS["ssh.clean"], make_context(1))) == [("incomplete", "node0")]


@given(st.text(), st.integers(0), st.from_regex(r"echo [^;&|<\\'\"]*", fullmatch=True))
def test_path_from_a_node_is_one_word_of_the_command(folder: str, number: int, line: str) -> None:
    source = reader(Source)({"path": f"/{folder}/.bashrc", "number": number, "line": line})
    assert source is not None
    for command in login._silence(Printed(("x",), "", (source,))):
        assert command.isprintable()
        assert shlex.split(command)[3:] == [rf"{number}s/^/[[ $- == *i* ]] \&\& /", source.path]


# -- host.linger -----------------------------------------------------------------------------------


def logind(**more: Any) -> dict[str, Any]:
    usual = {"systemd": True, "session": True, "user": "ubuntu", "kill": True, "only": []}
    return {**usual, "exclude": ["root"], "linger": False, **more}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, Status.WARN),
        ({"linger": True}, Status.WARN),  # it does not keep what a session started
        ({"kill": False}, Status.PASS),
        ({"kill": None}, Status.PASS),
        ({"user": "root"}, Status.PASS),
        ({"user": "root", "exclude": []}, Status.WARN),
        ({"session": False}, Status.PASS),
        ({"only": ["guest"]}, Status.PASS),
        ({"only": ["ubuntu"], "kill": False}, Status.WARN),
        ({"systemd": False, "kill": None, "session": False}, Status.SKIP),
    ],
)
def test_linger_by_logind_settings_and_user(more: dict[str, Any], status: Status) -> None:
    answers = answered(LOGIND, logind(**more))
    (found,) = judge_check(CHECKS["host.linger"], make_context(1, answers=answers))
    assert found.status is status


def test_linger_remedy_excludes_the_user_in_a_drop_in() -> None:
    answers = answered(LOGIND, logind())
    (found,) = judge_check(CHECKS["host.linger"], make_context(1, answers=answers))
    assert found.remedy is not None
    assert any(
        "'KillExcludeUsers=root ubuntu' > /etc/systemd/logind.conf.d/50-orch.conf" in command
        for command in found.remedy.commands
    )


# -- host.orphans ----------------------------------------------------------------------------------


def process(pid: int, **more: Any) -> dict[str, Any]:
    usual = {"pid": pid, "age": 7300.0, "owner": "ubuntu", "command": "python train.py"}
    return {**usual, "run": None, "address": None, "port": None, "gpu": False, **more}


def left(*processes: dict[str, Any]) -> list[Finding]:
    answers = answered(PROCESSES, {"processes": list(processes)})
    return judge_check(CHECKS["host.orphans"], make_context(1, answers=answers))


def test_processes_of_another_job_warn_with_owner_age_and_command() -> None:
    (found,) = left(process(12, run="calm-fox", port="29501", address="198.18.0.10"))
    assert found.status is Status.WARN
    assert found.message == (
        "has another job's processes: process 12 (of ubuntu, for 2 h, run calm-fox, main port 29501): "
        "python train.py"
    )
    assert found.remedy is not None
    assert found.remedy.text == (
        "if no one needs them any more: `orch stop calm-fox`, where the run was launched"
    )
    assert found.remedy.commands == ()


def test_run_of_orch_is_stopped_by_its_name() -> None:
    (found,) = left(process(12, run="calm-fox"), process(13), process(14, run="calm-fox"))
    assert found.remedy is not None
    assert found.remedy.text == (
        "if no one needs them any more: `orch stop calm-fox`, where the run was launched; `kill 13`"
    )
    (found,) = left(process(12, run="x; reboot\x1b[2J"))
    assert found.remedy is not None and found.remedy.text.isprintable()
    assert "`orch stop 'x; reboot [2J'`" in found.remedy.text


def test_ranks_that_would_join_this_job_fail() -> None:
    found = left(
        process(12, address="198.18.0.10", port="29500"), process(13, gpu=True), process(14)
    )
    assert brief(found) == [("fail", "node0"), ("warn", "node0")]
    assert "process 12" in found[0].message
    assert "process 13 (of ubuntu, for 2 h, holds a GPU)" in found[1].message
    assert found[1].remedy is not None
    assert found[1].remedy.text.endswith("`kill 13 14`")


def test_secrets_in_commands_are_masked() -> None:
    (found,) = left(process(12, command="python t.py --hf-token hunter2 --lr 3"))
    assert found.message.endswith("python t.py --hf-token *** --lr 3")


def test_many_processes_are_counted_and_commands_made_printable() -> None:
    (found,) = left(*(process(i, command="\x1b]0;x\a\nrm -rf\u202e" * 50) for i in range(5)))
    assert found.message.endswith(" and 2 more")
    assert found.message.isprintable()
    assert len(found.message) < 600


def test_no_processes_pass_and_no_answer_is_incomplete() -> None:
    assert brief(left()) == [("pass", "node0")]
    assert brief(judge_check(CHECKS["host.orphans"], make_context(1))) == [("incomplete", "node0")]


# -- host.rsync ------------------------------------------------------------------------------------


def test_node_without_rsync_fails_with_a_line_that_installs_it() -> None:
    found = judge_check(CHECKS["host.rsync"], make_context(3, facts_of={1: {"rsync": None}}))
    assert brief(found) == [("fail", "node1"), ("pass", "node0,node2")]
    assert found[0].remedy is not None
    (line,) = found[0].remedy.commands
    assert subprocess.run(["/bin/sh", "-nc", line], check=False).returncode == 0


def test_this_machine_without_rsync_fails_too() -> None:
    error = SyncError("rsync is not installed on this machine", remedy="install it")
    found = judge_check(CHECKS["host.rsync"], make_context(1, trouble={"host.rsync": error}))
    assert [(each.status, each.nodes) for each in found] == [
        (Status.FAIL, ()),
        (Status.PASS, ("node0",)),
    ]


def test_rsync_is_skipped_if_no_files_are_sent() -> None:
    found = judge_check(
        CHECKS["host.rsync"], make_context(2, sends=False, facts_of={1: {"rsync": None}})
    )
    assert [each.status for each in found] == [Status.SKIP]
