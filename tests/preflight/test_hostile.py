"""Hostile nodes: with any answer, no verdict raises, takes long, or has a command that runs their text.

Every value of every probe's answer is replaced in turn. Commands to paste may have the node's text only
inside one word of a command that is not a shell.
"""

from __future__ import annotations

import copy
import functools
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.preflight.fixes import PROBLEMS, fixes_of
from orchestrator.preflight.measure import judge, parse
from orchestrator.preflight.messages import lines
from orchestrator.preflight.model import Context, Script, Status
from orchestrator.preflight.registry import CHECKS
from orchestrator.preflight.report import Report
from orchestrator.ui.preflight import as_json, plain

from .answers import ALARMING, SOUND
from .contexts import make_context

PROBES = {probe.name: probe for check in CHECKS for probe in check.probes}
MARK = "PWN"
INJECTIONS = (
    f"x'; touch /tmp/{MARK}; '",
    f"$(touch${{IFS}}/tmp/{MARK})",
    f"`touch\t/tmp/{MARK}`",
    f"eth0;{MARK}",
    f"x\ntouch /tmp/{MARK}\n",
    f"\x1b]0;{MARK}\x07\x1b[2J\x00[bold]\u202e",
    f"--{MARK}=x",
    f"root ALL {MARK} #",
    "\ud800" + MARK,
)
NONSENSE: tuple[Any, ...] = (
    None, True, -1, 10**30, 10**400, float("nan"), float("inf"), -float("inf"), 0.5, "", "9" * 4000, "inf",
    [], {}, [[[]]], {"ok": {"ok": None}}, MARK * 100_000,
)  # fmt: skip
SHELLS = {"sh", "bash", "eval", "env", "xargs"}

Keys = tuple[Any, ...]
"""The path to a value: its keys and indices."""


def leaves(value: Any, path: Keys = ()) -> Iterator[Keys]:
    """Yield the path to every value within `value`, itself included."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from leaves(each, (*path, key))


def at(value: Any, path: Keys) -> Any:
    for key in path:
        value = value[key]
    return value


def with_(value: Any, path: Keys, new: Any) -> Any:
    """Return `value` with something else at `path`."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def judged(name: str, *answers: Any) -> Report:
    """Return the report of the checks that use this probe, with these raw answers of three nodes."""
    base = all_sound()
    parsed = {
        node: parse(PROBES[name], {name: {"ok": answer}})
        for node, answer in zip(base.names, answers, strict=True)
    }
    checks = [check for check in CHECKS if any(probe.name == name for probe in check.probes)]
    return judge(replace(base, answers={**base.answers, name: parsed}), checks)


@functools.cache
def all_sound() -> Context:
    """Return a context of three sound nodes."""
    base = make_context(3, script=SCRIPT, facts_of={i: {"gpus": 1} for i in range(3)})
    sound = {
        name: dict.fromkeys(base.names, parse(probe, {name: {"ok": SOUND[name]}}))
        for name, probe in PROBES.items()
    }
    return replace(base, answers=sound)


SCRIPT = Script(Path("train.py"), "import torch\nimport numpy\nimport yaml\n", None)


def assert_harmless(report: Report) -> None:
    """Assert that the report can be shown, and that no command in it runs text of a node."""
    for result in report.results:
        assert not any("could not be judged" in f.message for f in result.findings), result
    for fix in fixes_of(report, *PROBLEMS):
        for commands in fix.commands:
            for line in commands.lines:
                assert_line(line)
    for line in (*plain(report, 1.0), *lines(report)):
        assert line.isprintable(), line
        assert len(line) < 20_000, line[:200]
    assert json.dumps(as_json(report, 1.0), allow_nan=False)


def assert_line(command: str) -> None:
    """Assert that hostile text in a line is inside one word of a command that is not a shell."""
    assert command.isprintable(), command
    words = shlex.split(command)
    if words[:3] == ["sudo", "sh", "-c"]:
        command = words[3]
    elif words[0] == "sudo":
        command = shlex.join(words[1:])
    tokens = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    words = shlex.split(command)
    for word in words:
        if MARK in word:
            assert word in tokens or shlex.quote(word) in command, (word, command)
            assert not any(bare.strip("'\"") == MARK for bare in tokens), command
            assert not word.startswith(f"--{MARK}"), command
    if words[0] in SHELLS:
        assert MARK not in command, command


def test_every_probe_has_a_sound_answer() -> None:
    assert set(SOUND) == set(PROBES)
    for name, answer in SOUND.items():
        assert judged(name, answer, answer, answer).status is not Status.FAIL, name


@pytest.mark.parametrize("name", sorted(SOUND))
def test_text_from_a_node_never_becomes_a_command(name: str) -> None:
    for raw in (SOUND[name], *ALARMING.get(name, ())):
        for path in leaves(raw):
            if isinstance(at(raw, path), str):
                for word in INJECTIONS:
                    bad = with_(raw, path, word)
                    assert_harmless(judged(name, bad, bad, SOUND[name]))
                    assert_harmless(judged(name, SOUND[name], SOUND[name], bad))


@pytest.mark.parametrize("name", sorted(SOUND))
def test_invalid_values_from_a_node_do_not_break_the_report(name: str) -> None:
    tried: set[tuple[Keys, str]] = set()
    for raw in (SOUND[name], *ALARMING.get(name, ())):
        for path in leaves(raw):
            if (path, repr(at(raw, path))) in tried:
                continue
            tried.add((path, repr(at(raw, path))))
            for value in NONSENSE:
                bad = with_(raw, path, value)
                assert_harmless(judged(name, SOUND[name], bad, bad))


@pytest.mark.parametrize("name", sorted(SOUND))
def test_long_answer_is_judged_quickly_or_refused(name: str) -> None:
    began = time.process_time()
    for raw in (SOUND[name], *ALARMING.get(name, ())):
        for path in leaves(raw):
            value = at(raw, path)
            if isinstance(value, list) and value:
                bad = with_(raw, path, value * (200_000 // len(str(value))))
                judged(name, bad, SOUND[name], bad)
            elif isinstance(value, dict) and value:
                key, one = next(iter(value.items()))
                many = {f"{key}{i}": one for i in range(200_000 // len(str(value)))}
                judged(name, with_(raw, path, {**value, **many}), SOUND[name], SOUND[name])
    assert time.process_time() - began < 60
