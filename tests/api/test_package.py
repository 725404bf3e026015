"""What the package promises: its names, whatever was imported before, and the code of its documentation."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchestrator

ROOT = Path(__file__).parents[2]
TRAIN = """\
import os, sys
print("epoch", sys.argv[2] if len(sys.argv) > 2 else 0, flush=True)
with open(f"result-{os.environ['RANK']}.txt", "w") as file:
    file.write("done")
"""


@pytest.fixture
def project(empty_project: Path) -> Path:
    """A folder that has a script, and a home of the test's own."""
    (empty_project / "train.py").write_text(TRAIN)
    return empty_project


def test_exported_names_after_import_of_every_submodule_are_not_modules() -> None:
    script = """
import pkgutil, sys, types, orchestrator
elsewhere = ("orchestrator.provision", "orchestrator.__main__", "orchestrator.node.")
for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
    if not module.name.startswith(elsewhere):
        __import__(module.name)
for name in orchestrator.__all__:
    assert not isinstance(getattr(orchestrator, name), types.ModuleType), name
from orchestrator import launch, preflight, runs
assert callable(launch) and callable(preflight) and callable(runs)
from orchestrator.preflight import model
import orchestrator.runs.lock
assert model.__name__ == "orchestrator.preflight.model"
assert sys.modules["orchestrator.runs"].lock.Lock
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_package_dir_lists_every_exported_name() -> None:
    assert set(orchestrator.__all__) <= set(dir(orchestrator))


def test_package_names_for_type_checkers_are_the_exported_ones() -> None:
    text = Path(orchestrator.__file__).read_text()
    homes = dict(re.findall(r"^    from ([\w.]+) import (?:\w+) as (\w+)$", text, re.M)[::-1])
    names = re.findall(r"^    from [\w.]+ import \w+ as (\w+)$", text, re.M)
    assert sorted(names) == orchestrator.__all__
    assert set(homes) == set(orchestrator._HOMES)


@pytest.mark.cluster
def test_package_docstring_run_on_the_embedded_cluster_is_true(project: Path) -> None:
    assert orchestrator.__doc__ is not None
    example = doctest.DocTestParser().get_doctest(
        orchestrator.__doc__, {}, "orchestrator", orchestrator.__file__, 0
    )
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


@pytest.mark.cluster
def test_code_of_the_guide_run_on_the_embedded_cluster_succeeds(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs/guides/python.md").read_text(encoding="utf-8")
    (code, *_) = re.findall(r"```python\n(.*?)```", guide, re.S)
    (project / "model.pt").write_text("")  # goes to the nodes: no result
    for documented, local in (
        ('hosts="hosts.yaml"', "local=2"),
        ('launcher="torchrun"', 'launcher="direct"'),
        ("*.pt", "*.txt"),
    ):
        assert documented in code
        code = code.replace(documented, local)
    exec(compile(code, "python.md", "exec"), {})
    status, line, summary, state = capsys.readouterr().out.splitlines()
    assert status in ("pass", "warn")
    assert (line, state) == ("local0 epoch 10", "ended")
    assert summary.startswith("all 2 ranks succeeded")
    assert (project / "results" / "result-0.txt").read_text() == "done"


@pytest.mark.skipif(
    not os.environ.get("ORCH_NOTEBOOK"), reason="needs ORCH_NOTEBOOK=1 and ipykernel"
)
def test_notebook_cell_launches_and_waits(project: Path) -> None:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(project))
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            said.append(message["content"]["text"])

    try:
        reply = client.execute_interactive(
            "import asyncio\n"
            "from orchestrator import launch, alaunch\n"
            "assert asyncio.get_running_loop()\n"
            "run = launch('train.py', local=1, launcher='direct', preflight='off', on_line=print)\n"
            "print(run.wait().outcome)\n"
            "run = await alaunch('train.py', local=1, launcher='direct', preflight='off')\n"
            "print((await run.wait()).outcome)\n",
            timeout=120,
            output_hook=hear,
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok", reply["content"]
    assert "".join(said).splitlines() == ["r0 local0 │ epoch 0", "succeeded", "succeeded"]
