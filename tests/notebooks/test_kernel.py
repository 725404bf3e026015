"""In the kernel of a real notebook: the run in the cell, exceptions, interrupts, a kernel that dies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import orchestrator as orch

from ..homes import enter_project

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("ORCH_NOTEBOOK"), reason="needs ORCH_NOTEBOOK=1, ipykernel and nbclient"
    ),
    pytest.mark.cluster,
    pytest.mark.torch,
    pytest.mark.timeout(400),
]

SETUP = """
import time
import orchestrator as orch
def options(local=2):
    return {"local": local, "launcher": "direct", "preflight": "off"}
def slow():
    print("began", flush=True)
    time.sleep(300)
def fail():
    print("loss <b>$x^2$</b>", flush=True)
    raise ValueError("no such column")
"""


@pytest.fixture
def folder(tmp_path: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the notebook, and a home of the test's own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return enter_project(tmp_path, used_home, monkeypatch)


class Kernel:
    """A kernel; `outputs` has the outputs of the last cell, by nbclient's rules."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))
        self.messages: list[dict[str, Any]] = []

    def execute(self, code: str, timeout: float = 200) -> dict[str, Any]:
        """Run a cell, and return the content of its reply."""
        self.messages.clear()
        reply = self.client.execute_interactive(
            code, timeout=timeout, output_hook=self.messages.append, store_history=False
        )
        content: dict[str, Any] = reply["content"]
        return content

    def start(self, code: str) -> str:
        """Start a cell, and return its id."""
        identity: str = self.client.execute(code)
        return identity

    def reply(self, identity: str, timeout: float = 200) -> dict[str, Any]:
        """Wait for the end of a cell that was started."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self.client.get_shell_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == identity:
                content: dict[str, Any] = message["content"]
                return content
        raise AssertionError("the cell did not end")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each["content"] for each in self.messages if each["msg_type"] == kind]


@pytest.fixture
def kernel(folder: Path) -> Iterator[Kernel]:
    kernel = Kernel(folder)
    assert kernel.execute(SETUP)["status"] == "ok"
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


def wait_for(condition: Callable[[], Any], timeout: float = 120) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def began() -> orch.Run | None:
    """Return the run once all its ranks have printed a line."""
    for run in orch.runs():
        lines = [str(line) for line in run.logs(stream="stdout")]
        if sum("began" in line for line in lines) == 2:
            return run
    return None


def test_run_in_a_cell_is_one_output_that_ends_with_the_result(kernel: Kernel) -> None:
    reply = kernel.execute("orch.run(lambda: 41 + 1, **options())[1]")
    assert reply["status"] == "ok", reply
    (shown,) = kernel.of("display_data")
    updates = kernel.of("update_display_data")
    assert {each["transient"]["display_id"] for each in [shown, *updates]} == {
        shown["transient"]["display_id"]
    }
    last = updates[-1]["data"]
    assert "succeeded" in last["text/html"] and "succeeded with exit code 0" in last["text/plain"]
    assert kernel.of("stream") == []
    (result,) = kernel.of("execute_result")
    assert result["data"]["text/plain"] == "42"


def test_display_false_prints_the_lines(kernel: Kernel) -> None:
    kernel.execute("orch.run(lambda: print('hello'), display=False, **options())")
    assert kernel.of("display_data") == []
    lines = "".join(each["text"] for each in kernel.of("stream")).splitlines()
    assert sorted(lines) == ["r0 local0 │ hello", "r1 local1 │ hello"]


def test_exception_of_a_rank_is_the_cell_s(kernel: Kernel) -> None:
    reply = kernel.execute("orch.run(fail, **options())")
    assert (reply["status"], reply["ename"]) == ("error", "ValueError")
    assert 'raise ValueError("no such column")' in "\n".join(reply["traceback"])
    html = kernel.of("update_display_data")[-1]["data"]["text/html"]
    assert "failed" in html and "&lt;b&gt;$x^2$" in html and "<b>$x" not in html
    assert kernel.execute("orch.get_run().diagnose()")["status"] == "ok"
    assert "no such column" in kernel.of("execute_result")[0]["data"]["text/html"]


def test_cells_run_while_the_kernel_s_event_loop_does(kernel: Kernel) -> None:
    code = "job = orch.submit(lambda: 7, **options())\nprint(list(await job), job.result()[0])"
    assert kernel.execute(code)["status"] == "ok"
    assert "".join(each["text"] for each in kernel.of("stream")) == "[7, 7] 7\n"


def test_interrupted_kernel_stops_the_run(kernel: Kernel) -> None:
    cell = kernel.start("orch.run(slow, grace=1, **options())")
    run = wait_for(began)
    kernel.manager.interrupt_kernel()
    assert kernel.reply(cell)["ename"] == "KeyboardInterrupt"
    assert run.result is not None and run.result.outcome == "stopped"
    assert {rank.state for rank in run.result.ranks.values()} <= {"ended", "killed", "failed"}
    assert kernel.execute("1 + 1")["status"] == "ok"


@pytest.mark.parametrize("call", ["submit", "run"])
def test_run_of_a_killed_kernel_continues_and_is_found_again(kernel: Kernel, call: str) -> None:
    kernel.start(f"orch.{call}(slow, grace=1, **options())")
    run = wait_for(began)
    kernel.manager.shutdown_kernel(now=True)
    found = orch.get_run(run.name)
    try:
        states = wait_for(
            lambda: {rank.state for node in found.status().nodes for rank in node.ranks}
        )
        assert states == {"running"} and found.result is None
    finally:
        assert found.stop(grace=1).outcome == "stopped"


def test_example_runs_from_top_to_bottom(folder: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources=resources
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [
        str(out["data"]["text/plain"]) for cell in cells for out in cell.outputs if "data" in out
    ]
    assert any(text.startswith("tensor([[ ") for text in shown), shown
    assert (
        cells[-1].outputs[-1]["data"]["text/plain"]
        == "[0.010000000000000002, 0.04000000000000001, 0.09]"
    )
    assert len(nbformat.writes(notebook)) < 200_000
