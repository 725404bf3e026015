"""Common mistakes of new users: each gets one answer that says what is wrong and what to do.

Each is typed on a terminal of 80 columns, and the screen is read. Those that only a node can tell of are in
tests/lab/test_mistakes.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pyte
import pytest

from tests.warm import Warm

COLUMNS = 80
LINES = 40
MOST = 6  # lines of an answer that a person reads


@dataclass(frozen=True)
class Mistake:
    """What is typed, with which files there, and the words of the answer that matter."""

    name: str
    typed: str
    says: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)


def inventory(name: str, text: str, *says: str) -> Mistake:
    return Mistake(name, "nodes", says, {"hosts.yaml": text})


MISTAKES = [
    # -- what is typed ---------------------------------------------------------------------------
    Mistake("command_misspelt", "lanch train.py", ("No such command 'lanch'", "launch")),
    Mistake("script_left_out", "launch", ("SCRIPT is missing", "orch launch [OPTIONS] SCRIPT")),
    Mistake(
        "script_misspelt", "launch --local 2 trian.py", ("no such file", "did you mean train.py?")
    ),
    Mistake(
        "folder_in_place_of_script",
        "launch --local 2 src",
        ("not a file", "did you mean src/main.py?"),
    ),
    Mistake(
        "option_misspelt",
        "launch --local 2 --nprocs 2 train.py",
        ("no option --nprocs", "did you mean --nproc?"),
    ),
    Mistake(
        "word_in_place_of_number", "launch --local two train.py", ("--local takes a whole number",)
    ),
    Mistake(
        "number_too_small", "launch --local 0 train.py", ("--local takes a number of at least 1",)
    ),
    Mistake(
        "number_too_large", "launch --local 65 train.py", ("--local takes a number of at most 64",)
    ),
    Mistake("value_left_out", "logs --tail", ("--tail needs a value",)),
    Mistake(
        "choice_misspelt",
        "launch --local 2 --output txt train.py",
        ("--output txt", "text, json, raw", "did you mean text?"),
    ),
    Mistake(
        "nproc_of_none",
        "launch --local 2 --nproc 0 train.py",
        ("--nproc 0", "from 1 to 1024, auto, gpu"),
    ),
    Mistake(
        "launcher_misspelt",
        "launch --local 2 --launcher torch-run train.py",
        ("'torch-run'", "did you mean torchrun?"),
    ),
    Mistake(
        "port_out_of_range",
        "launch --local 2 --main-port 99999 train.py",
        ("--main-port 99999", "from 1 to 65535"),
    ),
    Mistake(
        "time_of_a_word", "launch --local 2 --timeout soon train.py", ("--timeout soon", "10m")
    ),
    Mistake(
        "variable_not_set",
        "launch --local 2 --env HF_TOKEN train.py",
        ("HF_TOKEN is not set here", "--env HF_TOKEN=VALUE"),
    ),
    Mistake(
        "env_file_missing",
        "launch --local 2 --env-file .env train.py",
        ("--env-file .env", "no such file"),
    ),
    Mistake(
        "folder_to_sync_missing",
        "launch --local 2 --sync nowhere train.py",
        ("--sync nowhere", "no such folder"),
    ),
    Mistake(
        "check_misspelt", "preflight --local 2 --only net.tpc", ("net.tpc", "did you mean net.tcp?")
    ),
    Mistake("run_unknown", "logs nosuch", ("no run 'nosuch'", "orch runs")),
    Mistake("word_too_many", "nodes please", ("orch nodes: unexpected words: please",)),
    # -- the inventory ---------------------------------------------------------------------------
    Mistake(
        "inventory_missing",
        "launch train.py",
        ("no such inventory", "orch init HOST...", "--local 2"),
    ),
    Mistake(
        "inventory_of_another_suffix",
        "nodes -i hosts.yml",
        ("did you mean hosts.yaml?",),
        {"hosts.yaml": "hosts: [a]\n"},
    ),
    Mistake("host_name_impossible", "init bad!host", ("expected a host", "'bad!host'")),
    inventory(
        "tab", "hosts:\n\t- node0\n", "hosts.yaml:2:1", "a tab stands here; indent with spaces"
    ),
    inventory("bracket_not_closed", "hosts: [node0, node1\n", "the [ on line 1 has no ]"),
    inventory("quote_not_closed", 'hosts: ["node0]\n', "the quote on line 1 is not closed"),
    inventory(
        "columns_differ",
        "hosts:\n- node0\n - node1\n",
        "hosts.yaml:2:3",
        "all '- ' in the same column",
    ),
    inventory(
        "indented_otherwise",
        "hosts:\n  - name: node0\n   user: x\n",
        "hosts.yaml:3:4",
        "indent it like the lines",
    ),
    inventory("range_unquoted", "hosts: [{name: node[0-3]}]\n", 'needs quotes: "node[0-3]"'),
    inventory("top_key_misspelt", "host:\n  - node0\n", "host: unknown key; did you mean 'hosts'?"),
    inventory(
        "key_misspelt",
        "hosts:\n  - {name: a, adress: b}\n",
        "hosts[0].adress",
        "did you mean 'address'?",
    ),
    inventory(
        "key_of_another_tool", "hosts:\n  - {name: a, slots: 8}\n", "did you mean 'devices'?"
    ),
    inventory(
        "colon_without_blank",
        "hosts:\n  - {name:node0}\n",
        "write name: node0, with a blank after the colon",
    ),
    inventory("name_left_out", "hosts:\n  - address: 10.0.0.1\n", "hosts[0].name: missing"),
    inventory("hostfile_of_mpi", "hosts:\n  - node0 slots=8\n", "write {name: node0, devices: 8}"),
    inventory("hosts_in_one_line", "hosts: node0, node1\n", "expected hosts: [node0, node1]"),
    inventory("plain_list_of_names", "node0 node1\n", "write hosts: [node0, node1]"),
    inventory("empty_file", "", "the file is empty"),
    inventory("no_hosts", "hosts:\n", "expected a list of hosts"),
    inventory(
        "port_of_a_word", "hosts:\n  - {name: a, port: ssh}\n", "from 1 to 65535; found 'ssh'"
    ),
    inventory(
        "host_twice",
        "hosts:\n  - node0\n  - node0\n",
        "duplicate name 'node0'; the first is on line 2",
    ),
    inventory(
        "addresses_too_few",
        'hosts: [{name: "a[0-3]", address: "10.0.0.[1-3]"}]\n',
        "expected 4 addresses",
        "found 3",
    ),
    inventory(
        "variables_as_text", "defaults:\n  env: A=1\nhosts: [a]\n", "as in {NCCL_DEBUG: INFO}"
    ),
    inventory(
        "launcher_unknown", "hosts: [{name: a, launcher: torch}]\n", "did you mean 'torchrun'?"
    ),
    Mistake(
        "node_misspelt",
        "nodes --nodes nod0",
        ("'nod0' (did you mean 'node0'?)", "it has node[0-1]"),
        {"hosts.yaml": "hosts: [node0, node1]\n"},
    ),
    Mistake(
        "no_node_left",
        "nodes --exclude node0",
        ("no node is left",),
        {"hosts.yaml": "hosts: [node0]\n"},
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_answered_on_a_screen_of_80_columns(
    mistake: Mistake, tmp_path: Path, environment: dict[str, str], warm: Warm
) -> None:
    (tmp_path / "train.py").write_text("print('hello')\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.py").touch()
    for name, text in mistake.files.items():
        (tmp_path / name).write_text(text)

    code, rows = typed(warm, mistake.typed, tmp_path, environment)
    words = " ".join(" ".join(rows).split())
    assert code == 2, words
    for essential in mistake.says:
        assert essential in words
    assert rows[0].startswith("orch: ")
    assert len(rows) <= MOST, "\n".join(rows)
    assert "Traceback" not in words
    assert "bug in orch" not in words
    for row, following in pairwise(rows):  # folded between words, not by the terminal
        assert len(row) < COLUMNS or following.startswith(" "), row


def typed(
    warm: Warm, words: str, folder: Path, environment: dict[str, str]
) -> tuple[int, list[str]]:
    """Return the exit code and what stands on the screen, without the rows below it."""
    code, written = warm.run_on_terminal(
        words.split(), {**environment, "TERM": "xterm-256color"}, folder, (LINES, COLUMNS)
    )
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(written)
    rows = [row.rstrip() for row in screen.display]
    while rows and not rows[-1]:
        rows.pop()
    return code, rows
