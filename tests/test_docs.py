"""The documentation agrees with the program: options, exit codes, keys, links, and a site that builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from orchestrator.cli.app import app
from orchestrator.errors import LaunchError, UsageError
from orchestrator.inventory.model import Host, Main

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part == "tests" or part[0] == "." for part in path.relative_to(ROOT).parts)
)
INVENTORY = (ROOT / "docs/reference/inventory.md").read_text(encoding="utf-8")


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts/docs", "--check"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_readme_has_at_most_9_kilobytes() -> None:
    assert (ROOT / "README.md").stat().st_size <= 9000


def test_every_option_has_a_help_text() -> None:
    root = get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"orch {name}: {parameter.name}"


def test_usage_of_every_command_has_no_braces() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    usages = re.findall(r"^Usage: .*$", page, re.MULTILINE)
    assert len(usages) > 15
    assert [usage for usage in usages if set(usage) & set("{}")] == []


def test_exit_codes_are_those_of_the_errors() -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    assert f"| {UsageError.exit_code} | the command line or the inventory" in page
    assert f"| {LaunchError.exit_code} | orch could not start the job" in page


@pytest.mark.parametrize(
    ("heading", "keys"),
    [("## Keys of a host", set(Host.model_fields)), ("## `main`", set(Main.model_fields))],
    ids=["host", "main"],
)
def test_inventory_keys_are_those_of_the_model(heading: str, keys: set[str]) -> None:
    section = INVENTORY.split(heading, 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def test_every_script_that_a_page_names_exists() -> None:
    pages = [page for page in PAGES if page.parent.name != "decisions"]  # which tell of the past
    for page in pages:
        for name in re.findall(r"(?<![\w/.])scripts/[a-z]+(?![\w./])", page.read_text()):
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    foreign = [
        (path.name, found)
        for path in tmp_path.rglob("*.html")
        for found in re.findall(
            r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))', path.read_text()
        )
    ]
    assert foreign == []  # it works offline


def _links(page: Path) -> Iterator[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "", text)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match("[a-z]+:", link):
            yield link


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))
