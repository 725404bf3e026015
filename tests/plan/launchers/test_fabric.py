"""The launch() call that `fabric run` refuses."""

from __future__ import annotations

import pytest

from orchestrator.plan.launchers.fabric import find_launch_call

HEAD = "from lightning.fabric import Fabric\nfabric = Fabric()\n"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (HEAD + "fabric.launch()\n", 3),
        ("import lightning as L\nf = L.Fabric(devices=2)\nf.launch()\n", 3),
        ("def main(fabric):\n    fabric.launch()\n", 2),
        (HEAD + "if __name__ == '__main__':\n    fabric.launch()\n", 4),
        (HEAD + 'if __name__ == "__main__":\n    fabric.launch(main)\n', 4),
        (HEAD + "print('fabric.launch()')  # fabric.launch()\n", None),
        (HEAD + "if not started_by_the_cli():\n    fabric.launch()\n", None),
        (HEAD + "try:\n    fabric.launch()\nexcept RuntimeError:\n    pass\n", None),
        (
            "def join(f):\n    if os.environ.get('LT_CLI_USED'): return\n    fabric.launch()\n",
            None,
        ),
        ("rocket.launch()\n", None),
        ("this is not Python\n", None),
        ("", None),
    ],
)
def test_only_an_unconditional_launch_call_is_found(source: str, line: int | None) -> None:
    assert find_launch_call(source) == line
