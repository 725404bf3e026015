"""A function on every rank of the embedded cluster, and its results."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import orchestrator as orch

pytestmark = pytest.mark.cluster

# As in a notebook, or a script that is run: pytest imports this file as a module that no node has.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class Point:
    x: int
    who: str


class BadColumnError(Exception):
    def __init__(self, column: int, text: str) -> None:
        super().__init__(text)
        self.column = column


def free_port() -> int:
    """Return a port that the runs of other tests, in other homes, do not choose as well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run(function: Any, *args: Any, **options: Any) -> orch.Results[Any]:
    return orch.run(
        function, *args, **{"local": 2, "launcher": "direct", "preflight": "off", **options}
    )


def test_run_returns_the_values_of_all_ranks_and_prints_their_lines(
    empty_project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    factor = 7

    def train(a: int, *, b: int) -> Point:
        print("a is", a, flush=True)
        return Point(a * factor + b, os.environ["RANK"])

    results = run(train, 3, b=4, launcher="torchrun", main_port=free_port())
    assert list(results) == [Point(25, "0"), Point(25, "1")]
    assert results[1] == results.rank(1) == results.by_node["local1"][0]
    lines = capfd.readouterr().out.splitlines()  # a launcher may say more
    assert {"r0 local0 │ a is 3", "r1 local1 │ a is 3"} <= set(lines)


def test_exception_of_a_rank_is_raised_with_its_class_and_traceback(empty_project: Path) -> None:
    def train() -> str:
        if os.environ["RANK"] == "1":
            raise BadColumnError(7, "no such column")
        return "fine"

    with pytest.raises(BadColumnError, match="no such column") as caught:
        run(train, on_line=lambda line: None)
    error: Any = caught.value
    assert error.column == 7
    assert 'raise BadColumnError(7, "no such column")' in str(error.__cause__)
    assert dict(enumerate(error.results)) == {0: "fine"}
    assert error.others == {}


def quiet(line: orch.LogLine) -> None:
    """Print nothing."""


def test_killed_rank_raises_run_failed_with_what_the_others_returned(empty_project: Path) -> None:
    def train() -> int:
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return 5

    with pytest.raises(orch.RunFailed, match="killed by SIGKILL") as caught:
        run(train, on_line=quiet)
    error: Any = caught.value
    assert list(error.results) == [5]
    with pytest.raises(orch.NoResult, match=r"rank 1 .* has returned nothing"):
        error.results[1]


def test_exception_of_an_unknown_class_is_a_remote_error(empty_project: Path) -> None:
    def train() -> None:
        import types

        module = sys.modules["there_only"] = types.ModuleType("there_only")
        kind = type("HereNotError", (Exception,), {"__module__": module.__name__})
        module.HereNotError = kind  # type: ignore[attr-defined]
        raise kind("no\x1b[2Jsuch thing")

    with pytest.raises(orch.RemoteError, match=r"raised there_only\.HereNotError: no ") as caught:
        run(train, local=1, on_line=quiet)
    assert "in train" in caught.value.traceback
    assert "\x1b" not in str(caught.value) + str(caught.value.__cause__)


def test_unsafe_result_raises_on_the_rank_unless_it_is_trusted(empty_project: Path) -> None:
    def train() -> dict[str, Any]:
        return {"found": functools.partial(int, "7")}

    with pytest.raises(TypeError, match=r"result\['found'\] is a functools.partial"):
        run(train, local=1, on_line=quiet)
    job = orch.submit(train, local=1, launcher="direct", preflight="off", trust=True)
    assert job.result(timeout=100)[0]["found"]() == 7
    assert job.done()
    results = orch.get_run(job.name).results()
    with pytest.raises(orch.OrchError, match="is pickled"):
        results[0]


def test_options_of_the_launch_and_keywords_of_the_function_are_separated(
    empty_project: Path,
) -> None:
    def train(**options: object) -> object:
        return options

    def waits(timeout: float) -> float:
        return timeout

    assert run(train, lr=3, local=1)[0] == {"lr": 3}
    with pytest.raises(orch.UsageError, match="timeout= is an option of the launch"):
        run(waits, timeout=3)
    bound = functools.partial(waits, timeout=3)
    assert run(bound, timeout=200, local=1)[0] == 3
    with pytest.raises(
        TypeError, match=r"waits\(\): .*'lancher' \(did you mean the option launcher=\?\)"
    ):
        run(waits, 3, lancher="direct")


def test_decorated_function_is_called_here_and_launched_on_the_ranks(empty_project: Path) -> None:
    @orch.function(local=2, launcher="direct", preflight="off", on_line=quiet)
    def train(timeout: int) -> tuple[int, str | None]:
        return timeout, os.environ.get("RANK")

    assert train(3) == (3, None)
    assert list(train.launch(3)) == [(3, "0"), (3, "1")]
    assert list(train.submit(timeout=4).result(timeout=100)) == [(4, "0"), (4, "1")]
    with pytest.raises(TypeError, match="did you mean 'launcher'"):
        orch.function(lancher="direct")


def test_job_is_awaited_in_a_running_loop_and_found_by_name(empty_project: Path) -> None:
    def train() -> str:
        print("up", flush=True)
        return os.environ["RANK"]

    async def both() -> list[str]:
        job = orch.submit(train, local=2, launcher="direct", preflight="off")
        lines = [line.text for line in job.logs(rank=0, follow=True)]
        assert lines == ["up"]
        return list(await job)

    assert asyncio.run(both()) == ["0", "1"]
    (found,) = orch.runs()
    assert list(found.results()) == ["0", "1"]


def test_stopped_job_raises_run_failed(empty_project: Path) -> None:
    def train() -> None:
        time.sleep(1000)

    job = orch.submit(train, local=1, launcher="direct", preflight="off")
    with pytest.raises(TimeoutError):
        job.result(timeout=0.2)
    assert not job.done()
    assert job.stop().outcome == "stopped"
    with pytest.raises(orch.RunFailed, match="stopped"):
        job.result()


def test_interrupt_stops_the_run_and_leaves_nothing(empty_project: Path) -> None:
    def train() -> None:
        print("up", flush=True)
        time.sleep(1000)

    def interrupt(line: orch.LogLine) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        run(train, local=1, on_line=interrupt)
    (stopped,) = orch.runs()
    assert stopped.result is not None
    assert stopped.result.outcome == "stopped"


FILE = """\
import json, os, sys
import orchestrator as orch

def train(x):
    print("rank", os.environ.get("RANK"), flush=True)
    return x + 1

if __name__ == "__main__":
    if "RANK" in os.environ:
        train(1)
    else:
        job = orch.submit(train, 1, local=2, launcher="direct", preflight="off")
        print(job.name)
"""


def script(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=200, check=False
    )


def test_file_launches_itself_and_its_results_are_found_by_another_process(
    empty_project: Path,
) -> None:
    (empty_project / "train.py").write_text(FILE)
    done = script("train.py")
    assert done.returncode == 0, done.stderr
    found = orch.get_run(done.stdout.strip())
    assert list(found.results(timeout=100)) == [2, 2]
    launched = orch.launch("train.py", local=1, launcher="direct", preflight="off")
    assert [line.text for line in launched.logs(stream="stdout")] == ["rank 0"]


def test_launch_at_the_top_of_a_module_is_refused_on_the_ranks(empty_project: Path) -> None:
    (empty_project / "model.py").write_text(
        "import orchestrator as orch\n"
        "def train(): pass\n"
        "orch.run(train, local=1, launcher='direct', preflight='off')\n"
    )
    done = script("-c", "import model")
    assert done.returncode == 1
    assert "is a rank of run" in done.stderr
    assert '`if __name__ == "__main__":`' in done.stderr
    assert len(orch.runs()) == 1


def test_dead_controller_leaves_a_job_running_that_another_process_ends(
    empty_project: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def train() -> str:
        print("up", flush=True)
        while not gate.exists():
            time.sleep(0.05)
        return os.environ["RANK"]

    job = orch.submit(train, local=2, launcher="direct", preflight="off")
    assert next(job.logs(follow=True)).text == "up"
    controller = job.status().controller
    assert controller is not None
    os.kill(controller.pid, signal.SIGKILL)
    gate.touch()
    assert list(orch.get_run(job.name).results(timeout=100)) == ["0", "1"]


def test_results_that_were_not_copied_are_brought_when_they_are_asked_for(
    empty_project: Path,
) -> None:
    job = orch.submit(lambda: bytes(3_000_000), local=1, launcher="direct", preflight="off",
                      result_limit=1000)  # fmt: skip
    with pytest.raises(orch.NoResult):
        job.result(timeout=100)[0]
    assert orch.get_run(job.name).results(result_limit="1GB")[0] == bytes(3_000_000)


def test_function_of_a_project_module_goes_by_name_with_the_projects_files(
    empty_project: Path,
) -> None:
    (empty_project / "src").mkdir()
    (empty_project / "src/model.py").write_text(
        "import orchestrator as orch\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Net:\n    width: int\n"
        "def train(net):\n    return Net(net.width + 1), __name__\n"
    )
    (empty_project / "go.py").write_text(
        "import sys; sys.path.insert(0, 'src')\nimport orchestrator as orch, model\n"
        "print(list(orch.run(model.train, model.Net(1), local=1, launcher='direct')))\n"
    )
    done = script("go.py")
    assert done.stdout == "[(Net(width=2), 'model')]\n", done.stderr
    (run,) = orch.runs()
    assert json.loads((run.folder / "call/call.json").read_text())["python_version"] is None


def test_module_that_a_node_lacks_is_reported_before_the_start(empty_project: Path) -> None:
    def train() -> None:
        import module_that_no_node_has  # type: ignore[import-not-found]

        module_that_no_node_has.go()

    with pytest.raises(orch.PreflightError, match="no module module_that_no_node_has"):
        run(train, local=1, preflight="quick")
    assert orch.runs() == []
