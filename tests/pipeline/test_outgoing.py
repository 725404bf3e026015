"""What is reported about the folder that is sent to the nodes, before it is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.errors import SyncError
from orchestrator.pipeline.outgoing import survey_folder, warn_of_unsent_files
from orchestrator.plan import Job


def place(root: Path, name: str, content: str | bytes = "x") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


def warnings(heard: list[events.Event]) -> list[str]:
    return [event.message for event in heard if isinstance(event, events.Warned)]


async def test_survey_reports_number_and_size_of_files(tmp_path: Path) -> None:
    place(tmp_path, "train.py", "12345")
    place(tmp_path, "lib/a.py", "67")
    heard: list[events.Event] = []
    tree = await survey_folder(tmp_path, 7, heard.append)
    assert heard == [events.Sending(tmp_path, 2, 7)]
    assert tree.files == ("lib/a.py", "train.py")


async def test_folder_above_the_limit_is_refused_with_its_largest_parts(
    tmp_path: Path,
) -> None:
    place(tmp_path, "checkpoints/last.pt", os.urandom(5000))
    place(tmp_path, "data/raw/x.bin", os.urandom(3000))
    place(tmp_path, "train.py")
    heard: list[events.Event] = []
    with pytest.raises(SyncError) as caught:
        await survey_folder(tmp_path, 4000, heard.append)
    assert heard == [events.Sending(tmp_path, 3, 8001)]  # what would be sent is reported first
    assert caught.value.exit_code == 125
    text = str(caught.value)
    assert text.splitlines()[0] == (
        f"{tmp_path} has 3 files of 8.0 kB, more than the 4.0 kB of --sync-limit; nothing was sent. "
        "Most of it is"
    )
    assert "    5.0 kB  checkpoints/   (probably output of training)\n" in text
    assert "    3.0 kB  data/raw/\n" in text
    assert "\n    /checkpoints/\n    /data/raw/\n" in text
    assert "--sync-limit 1G" in text


async def test_suggested_ignore_lines_bring_the_folder_below_the_limit(tmp_path: Path) -> None:
    place(tmp_path, "runs/a.bin", os.urandom(5000))
    place(tmp_path, "train.py")
    with pytest.raises(SyncError) as caught:
        await survey_folder(tmp_path, 4000, lambda event: None)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    /")]
    place(tmp_path, ".orchignore", "\n".join(lines))
    assert (await survey_folder(tmp_path, 4000, lambda event: None)).count == 2


async def test_survey_without_limit_accepts_any_size(tmp_path: Path) -> None:
    place(tmp_path, "x.bin", b"x" * 5000)
    assert (await survey_folder(tmp_path, None, lambda event: None)).size == 5000


async def test_credentials_are_not_sent_and_the_warning_says_how_to_send_them(
    tmp_path: Path,
) -> None:
    place(tmp_path, ".netrc")
    heard: list[events.Event] = []
    await survey_folder(tmp_path, None, heard.append)
    assert warnings(heard) == [
        ".netrc looks like credentials and was not sent; to send it anyway, put !.netrc into .orchignore"
    ]
    for number in range(5):
        place(tmp_path, f"{number}.p12")
    place(tmp_path, "conf/.env")
    heard.clear()
    await survey_folder(tmp_path, None, heard.append)
    (text,) = warnings(heard)
    assert text.startswith(".netrc, 0.p12, 1.p12, 2.p12 and 3 more look like credentials")
    assert text.endswith("; --env-file conf/.env sets its variables without a copy")


async def test_links_out_of_the_folder_are_reported(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/data/imagenet")
    (tmp_path / "here").symlink_to("data")
    heard: list[events.Event] = []
    await survey_folder(tmp_path, None, heard.append)
    (text,) = warnings(heard)
    assert text.startswith("data -> /data/imagenet leads out of the folder: ")
    assert "name the link in .orchignore" in text


def test_unsent_files_that_the_job_names_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path, ".gitignore", "data/\n")
    place(tmp_path, "train.py", 'open("data/a")')
    for number in range(6):
        place(tmp_path, f"data/{number}")
    place(tmp_path, "data/a")
    monkeypatch.chdir(tmp_path)
    heard: list[events.Event] = []
    job = Job("train.py", arguments=tuple(f"data/{number}" for number in range(6)))
    warn_of_unsent_files(job, Path(), Path("train.py"), heard.append)
    messages = warnings(heard)
    assert len(messages) == 5
    assert messages[0].startswith("the argument data/0 is here but not sent")
    assert messages[-1] == "3 other files that the job names are not sent either"
    heard.clear()
    warn_of_unsent_files(job, None, Path("train.py"), heard.append)
    assert heard == []
