"""Exit codes and messages of rsync become a cause and a remedy."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sync.failure import PUSH, failure


def error(here: int, there: int | None, said: str, destination: str = "/w") -> str:
    return str(failure(PUSH, "node1", destination, here, there, said.encode()))


@pytest.mark.parametrize(
    ("here", "there", "said", "cause", "remedy"),
    [
        (
            12,
            127,
            "sh: 1: exec: rsync: not found\nrsync: connection unexpectedly closed",
            "node1: rsync is not installed on the node\n    sh: 1: exec: rsync: not found\n",
            "apt-get install rsync",
        ),
        (12, 126, "sh: rsync: Permission denied", "rsync on the node cannot be run", "--no-sync"),
        (2, 2, "protocol version mismatch -- is your shell clean?", "rsync's protocol", "version"),
        (
            23,
            23,
            'rsync: [receiver] write failed on "/w/x": No space left on device (28)',
            "the disk of the node that holds /w is full\n    rsync: [receiver] write failed",
            "df -h /w",
        ),
        (
            11,
            11,
            "rsync: mkstemp: Disk quota exceeded (122)",
            "the user's quota on the node for /w is used up",
            "quota -s",
        ),
        (
            23,
            23,
            'rsync: [generator] link "/w/b" => a failed: Operation not permitted (1)',
            "the file system of /w has no hard links",
            ".orchignore",
        ),
        (
            23,
            23,
            'rsync: [generator] mkdir "/w/a" failed: Too many levels of symbolic links (40)',
            "a link below /w leads out of it",
            "workdir",
        ),
        (
            23,
            23,
            'rsync: [receiver] mkstemp "/w/.x" failed: Permission denied (13)',
            "/w on the node cannot be written",
            "ls -ld /w",
        ),
        (
            23,
            0,
            'rsync: [sender] send_files failed to open "/home/u/key": Permission denied (13)',
            "a file on this machine cannot be read",
            ".orchignore",
        ),
        (
            11,
            11,
            'rsync: [Receiver] mkdir "/w" failed: No such file or directory (2)',
            "/w cannot be created on the node: its parent folder does not exist",
            "mkdir -p /w",
        ),
        (
            23,
            0,
            'rsync: [sender] change_dir "/home/u/job" failed: No such file or directory (2)',
            "the folder to send is gone from this machine",
            "run it again",
        ),
        (-9, 12, "", "rsync on this machine was killed by SIGKILL", "run it again"),
        (12, 137, "", "rsync on the node was killed by SIGKILL, perhaps for lack", "run it again"),
        (12, 143, "", "rsync on the node was killed by SIGTERM\n", "run it again"),
        (12, None, "", "rsync failed (code 12 here, none from the node)", "man rsync"),
        (35, 99, "what?", "rsync failed (code 35 here, 99 from the node)\n    what?", "man rsync"),
    ],
)
def test_every_known_failure_has_a_cause_and_a_remedy(
    here: int, there: int | None, said: str, cause: str, remedy: str
) -> None:
    message = error(here, there, said)
    assert message.startswith("node1: ")
    assert cause in message
    assert remedy in message.partition("→")[2]


def test_destination_in_the_remedy_is_quoted_for_the_shell() -> None:
    message = error(11, 11, "No space left on device", "/my work/{x}")
    assert "that holds /my work/{x} is full" in message
    assert "df -h '/my work/{x}'" in message


@given(st.integers(-15, 140), st.none() | st.integers(0, 255), st.binary(max_size=2000), st.text())
def test_message_from_any_output_is_short_and_printable(
    here: int, there: int | None, said: bytes, destination: str
) -> None:
    message = str(failure(PUSH, "node1", destination, here, there, said))
    assert all(char.isprintable() or char == "\n" for char in message)
    assert message.count("\n") <= 4
    assert len(message) < 2000


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["C", "Z"])))
def test_folder_of_any_name_can_be_pasted_from_the_remedy(name: str) -> None:
    folder = f"/w/a  b/{'x' * 250}/{name}"
    shown = error(23, 23, "No space left on device", folder)
    line = shown.partition("(df -h ")[2].rpartition(") and run it")[0]
    assert shlex.split(line) == [folder]
