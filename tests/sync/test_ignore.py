"""Ignore files are compared with git itself."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.sync import collect
from orchestrator.sync.ignore import Rules

NO_USER_SETTINGS = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def git(folder: Path, *words: str) -> bytes:
    return subprocess.run(
        ["git", *words], cwd=folder, env=NO_USER_SETTINGS, check=True, stdout=subprocess.PIPE
    ).stdout


def files_of_git(folder: Path) -> list[str]:
    listing = git(folder, "ls-files", "-z", "-co", "--exclude-standard")
    return sorted(os.fsdecode(name) for name in listing.split(b"\0")[:-1])


# Few names, so that patterns often match; and all characters with a special meaning.
PLAIN = st.sampled_from(["a", "b", "c"])
ODD = st.sampled_from(["ab", "a.b", "B", "-a", "a b", "a\n", "[a]", "#a", "!a", "é", "\\a", "a\\"])
NAMES = PLAIN | PLAIN | ODD
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
GLOBS = st.sampled_from(
    (
        r"* ** *** ? ?? *.b a* *b [ab] [!a] [^b] [a-c] []a] []-a] [a-] [!-] [z-a] \* \a \é \[a] [\]a]"
        r" [[:alpha:]] [[:upper:]b] [[:nope:]] [[:] [ [a" + " \\"
    ).split(" ")
)
SEGMENTS = PLAIN | st.sampled_from(["*", "**"]) | ODD | GLOBS
PATTERNS = st.tuples(
    st.sampled_from(["", "", "", "", "!", "!", "!", "!", "\\!", "#", "\\#", " "]),
    st.sampled_from(["", "", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "", "", "", "/", "/", "/**", " ", "  ", "\\ ", "\t", "\r", "//"]),
).map("".join)
# Any combination of the characters of globs, as bytes and not only as text.
LETTERS = st.sampled_from(["a", "b", "ab", "\udcff", "\udcc3", "é", ".", "-"])
SIGNS = st.sampled_from(
    ["*", "*", "**", "**/", "/**/", "?", "/", "\\", "\\/", " ", "\\ ", "!", "\0"]
)
BRACKETS = st.sampled_from(
    ["[", "]", "[a", "[!", "[^", "a-", "[]", "[[:alpha:]]", "[[:", ":]", "[a-b]", "[a\\]]", "[\\"]
)
WILD = st.lists(LETTERS | SIGNS | BRACKETS, min_size=1, max_size=9).map("".join)
WILD_FILES = st.tuples(st.lists(WILD, max_size=5).map("\n".join), st.sampled_from(["", "\n"]))
WILD_PATHS = st.lists(
    st.lists(LETTERS, min_size=1, max_size=3).map("".join).filter(lambda n: n not in (".", "..")),
    min_size=1,
    max_size=4,
).map("/".join)
IGNORE_FILES = st.tuples(st.lists(PATTERNS, max_size=8).map("\n".join), st.sampled_from(["", "\n"]))


def make(root: Path, path: str, content: str = "") -> None:
    """Write a file, unless a file exists at its path or above it."""
    file = root / path
    if any((root / parent).is_file() for parent in Path(path).parents) or file.is_dir():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(os.fsencode(content))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet")
    yield folder


@settings(
    max_examples=5 * settings().max_examples,  # many are needed for rules to interact
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    files=st.lists(PATHS, min_size=6, max_size=20),
    top=IGNORE_FILES,
    nested=st.dictionaries(PATHS, IGNORE_FILES, max_size=2),
)
def test_rules_select_the_files_that_git_would_add(
    repository: Path,
    files: list[str],
    top: tuple[str, str],
    nested: dict[str, tuple[str, str]],
) -> None:
    with tempfile.TemporaryDirectory(dir=repository, prefix="x") as name:
        root = Path(name)
        make(root, ".gitignore", "".join(top))
        for path in files:
            make(root, path)
        for path, lines in nested.items():
            make(root, f"{path}/.gitignore", "".join(lines))
        assert list(collect(root).files) == files_of_git(root)


@settings(
    max_examples=5 * settings().max_examples,  # many are needed for rules to interact
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(files=st.lists(WILD_PATHS | PATHS, min_size=6, max_size=20), top=WILD_FILES)
def test_any_globs_select_the_files_that_git_would_add(
    repository: Path, files: list[str], top: tuple[str, str]
) -> None:
    with tempfile.TemporaryDirectory(dir=repository, prefix="x") as name:
        root = Path(name)
        make(root, ".gitignore", "".join(top))
        for path in files:
            make(root, path)
        assert list(collect(root).files) == files_of_git(root)


def test_many_lines_take_about_as_long_as_in_git(repository: Path) -> None:
    root = repository / "many"
    for number in range(5000):
        make(root, f"part-{number % 50}/sample-{number}.bin")
    plain = "".join(f"name-{n}\n/part-1/other-{n}\n*.ending-{n}\n" for n in range(7000))
    make(root, ".gitignore", f"{plain}sample-4999.bin\n")
    started = time.monotonic()
    theirs = files_of_git(root)
    git_took = time.monotonic() - started
    started = time.monotonic()
    ours = list(collect(root).files)
    took = time.monotonic() - started
    assert ours == theirs and len(ours) == 5000
    assert took < 20 * max(git_took, 0.1)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 30, "a" * 254 + "b"),
        ("x/" + "*a" * 30, "x/" + "a" * 250 + "b"),
        ("**/" + "a*/**/" * 20 + "b", "a/" * 1000 + "c"),
        ("**/" + "*a*/" * 20 + "b", "a/" * 1000 + "c"),
        ("**\\/a" * 30, "a/" * 1000 + "c"),
        ("[ab]*" * 100, "ab" * 120 + "/"),
        ("*[!b]" * 100 + "c", "a" * 250),
    ],
)
def test_pattern_of_many_stars_is_fast(pattern: str, path: str) -> None:
    rules = Rules(pattern.encode())
    started = time.monotonic()
    for _ in range(100):
        assert rules.ignored(path.encode(), directory=False) is None
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        ("*.log", "a/b.log", True),
        ("/a", "b/a", None),
        ("a/b", "c/a/b", None),
        ("*\n!a", "a", False),
        ("a\n!a\na", "a", True),
        ("data/", "data", None),  # a file
        ("a\\ ", "a ", True),
        ("a ", "a", True),
        ("a\r", "a", True),
        ("\ufeffa", "a", True),
        ("a/**/b", "a/b", True),
        ("a/**", "a", None),
        ("[", "[", None),
        ("/a[!b]c", "a/c", None),
        ("[a-c]", "c", True),
        ("a", "a\n", None),
        ("a**/b", "axy/q/b", True),  # git compares the text before a wildcard by itself
        ("a/**\\/b", "a/b", None),
        ("/*b", "x/ab", None),
        ("*b/", "ab", None),
        ("a\0b", "a", True),
        ("a*\nab\n!a*", "ab", False),
    ],
)
def test_last_pattern_that_matches_decides(patterns: str, path: str, ignored: bool | None) -> None:
    assert Rules(patterns.encode()).ignored(path.encode(), directory=False) is ignored


def test_pattern_with_a_trailing_slash_matches_directories_only() -> None:
    assert Rules(b"data/").ignored(b"data", directory=True) is True
    assert Rules(b"data/").ignored(b"data", directory=False) is None


def test_file_without_patterns_decides_nothing() -> None:
    assert Rules(b"# nothing\n\n!\n/\n").ignored(b"a", directory=False) is None
