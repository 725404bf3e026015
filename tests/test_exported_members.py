"""What the package offers to Python."""

from __future__ import annotations

import subprocess
import sys

import pytest

import orchestrator


def test_every_exported_name_has_a_docstring() -> None:
    assert sorted(orchestrator.__all__) == orchestrator.__all__
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__doc__, name


def test_every_error_is_exported() -> None:
    from orchestrator import errors

    family = {
        name for name in vars(errors)
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), Exception)
    }  # fmt: skip
    internal = {"Interrupted", "ConnectionLost", "LoginRefused", "NodeGone"}
    assert family - internal <= set(orchestrator.__all__)


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = orchestrator.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("heavy", ["asyncssh", "rich", "ruamel", "ClusterShell", "asyncio"])
def test_help_imports_nothing_heavy(heavy: str) -> None:
    script = (
        "import sys\nsys.argv = ['orch', 'launch', '--help']\n"
        "from orchestrator.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"assert {heavy!r} not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
