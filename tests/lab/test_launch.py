"""`orch launch` on real hosts: the right ranks, arguments, output and exit codes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    agents,
    copies,
    launch,
    processes_of_runs,
    record,
    run_name,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"

ALL_REDUCE = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
value = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(value)
print(f"sum {value.item()} of {dist.get_world_size()}")
dist.destroy_process_group()
"""

WHO = """
import os, socket
print("I am", *(os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")), socket.gethostname())
"""

ECHO = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("VALUE"), os.environ.get("FROM_HOST"), os.getcwd()]))
"""

NASTY = [
    "",
    " ",
    "a b",
    "it's",
    '"',
    "$HOME",
    "`id`",
    "a\nb",
    "\\",
    "!x",
    "*",
    "é☃ 日本",
    "-n",
    "--",
    "~",
    "a;b&c|d",
]


# -- rendezvous --------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("launcher", ["torchrun", "fabric", "direct"])
def test_all_reduce_over_hosts_whose_own_names_are_loopback(
    lab3: Lab, tmp_path: Path, launcher: str
) -> None:
    script = write(tmp_path / "job", "reduce.py", ALL_REDUCE)
    done = launch(lab3, "--launcher", launcher, script)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = sorted(line for line in done.stdout.splitlines() if "sum" in line)
    assert shown == [f"r{rank} node{rank} │ sum 6.0 of 3" for rank in range(3)]


@pytest.mark.torch
def test_same_job_by_hand_does_not_rendezvous(lab3: Lab, tmp_path: Path) -> None:
    """The control: with an explicit interface it does, so the host name is the cause."""

    def by_hand(seconds: float, **env: str) -> tuple[int, float]:
        began = time.monotonic()
        started = []
        for index, node in enumerate(lab3.nodes[:2]):
            folder = lab3.files(node) / "tmp"
            (folder / "reduce.py").write_text(ALL_REDUCE)
            words = ["-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={index}",
                     "--nproc-per-node=1", f"--master-addr={lab3.address('node0')}",
                     "--master-port=29511", "/tmp/reduce.py"]  # fmt: skip
            started.append(
                lab3.popen([sys.executable, *words], node=node, env=env,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            )  # fmt: skip
        sums = 0
        for process in started:
            try:
                out = process.communicate(timeout=max(0.1, began + seconds - time.monotonic()))[0]
                sums += out.count(b"sum 3.0 of 2")
            except subprocess.TimeoutExpired:
                process.terminate()  # torchrun ends its workers
        for process in started:
            process.communicate(timeout=60)
        return sums, time.monotonic() - began

    came, seconds = by_hand(100, GLOO_SOCKET_IFNAME="eth0")
    assert came == 2
    assert by_hand(2 * seconds)[0] == 0


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_each_line_has_its_global_rank_and_host(lab3: Lab, tmp_path: Path, launcher: str) -> None:
    inventory = tmp_path / "hosts.yaml"
    text = lab3.inventory.read_text().replace("{name: node0,", "{name: node0, devices: 4,")
    inventory.write_text(text.replace("{name: node1,", "{name: node1, devices: 2,"))
    script = write(tmp_path / "job", "who.py", WHO)
    done = launch(lab3, "--nodes", "node[0-1]", "--launcher", launcher, script, inventory=inventory)
    assert done.returncode == 0, done.stderr
    wanted = [f"r{r} node0 │ I am {r} {r} 6 node0" for r in range(4)]
    wanted += [f"r{4 + r} node1 │ I am {4 + r} {r} 6 node1" for r in range(2)]
    assert sorted(line for line in done.stdout.splitlines() if "I am" in line) == wanted


@pytest.mark.torch
@pytest.mark.parametrize("launcher", ["fabric", "torchrun"])
def test_fabric_example_trains(lab3: Lab, launcher: str) -> None:
    script = EXAMPLES / "digits_fabric.py"
    checkpoint = f"/tmp/{launcher}.ckpt"
    done = launch(
        lab3, "--nodes", "node[0-1]", "--launcher", launcher, script, "--epochs", "3",
        "--checkpoint", checkpoint, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "world size 2" in done.stdout
    assert (lab3.files("node0") / checkpoint.lstrip("/")).exists()


SELF_LAUNCHING = """
import torch
from lightning.fabric import Fabric
fabric = Fabric(accelerator="cpu", strategy="ddp", devices=2, num_nodes=2)
fabric.launch()
total = fabric.all_reduce(torch.tensor(float(fabric.global_rank + 1)), reduce_op="sum")
# One write a line: the processes of a node share the launcher's file.
print(f"sum {total.item()} on rank {fabric.global_rank} of {fabric.world_size}\\n", end="")
fabric.barrier()
"""


@pytest.mark.torch
def test_self_launching_script_gets_its_node_rank_under_python(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "self.py", SELF_LAUNCHING)
    words = ["--nodes", "node[0-1]", "--nproc", "2", "--launcher", "python"]
    done = launch(lab3, *words, script, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = sorted(line.split("│ ")[1] for line in done.stdout.splitlines() if "sum" in line)
    assert shown == [f"sum 10.0 on rank {rank} of 4" for rank in range(4)]


def test_self_launching_script_is_refused_under_fabric(lab3: Lab, tmp_path: Path) -> None:
    source = "from lightning.fabric import Fabric\nfabric = Fabric()\nfabric.launch()\n"
    script = write(tmp_path / "job", "self.py", source)
    done = launch(lab3, "--launcher", "fabric", script)
    assert done.returncode == 125
    assert "self.py:3: the script calls launch() itself" in done.stderr
    assert "--launcher torchrun" in done.stderr
    wait_until(lambda: agents(lab3) == [])


# -- arguments and output ----------------------------------------------------------------------


def test_arguments_values_and_paths_arrive_unchanged(lab3: Lab, tmp_path: Path) -> None:
    workdir = "/root/a b/$x 'q' \"é\""
    inventory = tmp_path / "hosts.yaml"
    entry = json.dumps({"name": "node0", "address": lab3.address("node0"), "workdir": workdir,
                        "env": {"FROM_HOST": "\n".join(NASTY)}})  # fmt: skip
    inventory.write_text(lab3.inventory.read_text().split("hosts:")[0] + f"hosts:\n  - {entry}\n")
    script = write(tmp_path / "my $job's", "the 'script' é.py", ECHO)
    value = "\t".join(NASTY)
    done = launch(
        lab3, "--launcher", "direct", "--output", "raw", "--env", f"VALUE={value}", script, *NASTY,
        inventory=inventory,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [NASTY, value, "\n".join(NASTY), workdir]


@pytest.mark.torch
def test_arguments_pass_through_torchrun_and_fabric(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "echo.py", ECHO)
    words = [*NASTY, "--devices", "5", "--nnodes=9"]
    for launcher in ("torchrun", "fabric"):
        done = launch(
            lab3, "--nodes", "node0", "--launcher", launcher, "--output", "raw", script, *words
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[0])[0] == words


ODD = (
    b"no newline at the end of this, then a bar \r10%\r20%\r\r\n"
    b"\xff\xfe invalid \xc3\n nul \0 here\n\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07\n"
)


def test_output_that_is_not_lines_is_kept_byte_for_byte(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job", "odd.py",
        f"import sys\nout = sys.stdout.buffer\nout.write({ODD!r})\n"
        "out.write(b'x' * 50_000_000)\nout.write(b'end without newline')\n"
        "sys.stderr.buffer.write(b'err \\xff')\n",
    )  # fmt: skip
    done = launch(lab3, "--nodes", "node0", "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    want = ODD + b"x" * 50_000_000 + b"end without newline"
    kept = copies(lab3, run_name(done.stderr)) / "node0/attempt-0"
    on_node = lab3.files("node0") / "home/.local/state/orch/runs" / run_name(done.stderr)
    for folder in (kept, on_node / "node0/attempt-0"):
        got = (folder / "rank-0.out").read_bytes()
        assert hashlib.sha256(got).digest() == hashlib.sha256(want).digest()
    assert (kept / "rank-0.err").read_bytes() == b"err \xff"
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines) < 17 << 20  # how much of a line orch holds in memory
    assert sum(line.count("x") for line in lines) >= 50_000_000


def test_json_lines_have_rank_and_node(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "who.py", WHO)
    done = launch(lab3, "--launcher", "direct", "--nproc", "2", "--output", "json", script)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(x["rank"], x["local_rank"], x["node"], x["stream"]) for x in lines} == {
        (rank, rank % 2, f"node{rank // 2}", "stdout") for rank in range(6)
    }
    assert all(abs(x["t"] - time.time()) < 3600 for x in lines)


def test_only_selected_ranks_are_shown(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "who.py", WHO)
    done = launch(lab3, "--launcher", "direct", "--rank", "1-2", script)
    assert sorted(line[:2] for line in done.stdout.splitlines()) == ["r1", "r2"]


# -- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
@pytest.mark.parametrize(
    ("how", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("sys.exit(0)", 0)]
)
def test_exit_code_equals_that_of_the_job(
    lab3: Lab, tmp_path: Path, launcher: str, how: str, code: int
) -> None:
    source = f"import os, sys, time\nif os.environ['RANK'] == '1': {how}\n"
    if code:
        source += "time.sleep(1000)\n"
    done = launch(lab3, "--launcher", launcher, write(tmp_path / "job", "end.py", source))
    assert done.returncode == code, done.stderr
    run = run_name(done.stderr)
    assert record(lab3, run)["exit_code"] == code
    assert processes_of_runs(lab3, run) == []
    if code:
        assert "rank 1 on node1" in done.stderr


@pytest.mark.torch
def test_launcher_that_cannot_start_is_reported(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "x.py", WHO)
    done = launch(lab3, "--launcher-arg=--no-such-option", script)
    assert done.returncode == 2
    assert "the launcher on node" in done.stderr
    assert "--no-such-option" in done.stdout


@pytest.mark.torch
@pytest.mark.parametrize(("failures", "code"), [(1, 0), (9, 7)])
def test_restarts_of_torchrun_are_supported(
    lab3: Lab, tmp_path: Path, failures: int, code: int
) -> None:
    source = (
        "import os, sys\ncount = int(os.environ['TORCHELASTIC_RESTART_COUNT'])\n"
        f"print('attempt', count)\nsys.exit(7 if count < {failures} else 0)\n"
    )
    script = write(tmp_path / "job", "again.py", source)
    done = launch(lab3, "--nodes", "node0", "--launcher-arg=--max-restarts=2", script, timeout=180)
    assert done.returncode == code, done.stderr
    logs = copies(lab3, run_name(done.stderr)) / "node0"
    kept = sorted(path.read_text() for path in logs.glob("attempt-*/rank-0.out"))
    assert kept == [f"attempt {number}\n" for number in range(min(failures, 2) + 1)]


def test_main_address_of_another_node_is_refused(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "x.py", WHO)
    done = launch(lab3, "--launcher", "direct", "--main-address", lab3.address("node1"), script)
    assert done.returncode == 125
    assert "is an address of node1, but node0 is the main node" in done.stderr


# -- dry run and secrets -----------------------------------------------------------------------


def test_dry_run_starts_nothing_and_prints_commands_to_paste(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "who.py", WHO)
    launch(lab3, "--launcher", "direct", script)  # copies the files
    done = launch(lab3, "--launcher", "direct", "--dry-run", script, "a b")
    assert done.returncode == 0
    assert processes_of_runs(lab3) == []
    lines = done.stdout.splitlines()
    assert lines[0] == "# node0: node rank 0, rank 0 of 3"
    for node, command in zip(lab3.nodes, lines[1::2], strict=True):
        pasted = lab3.run(["sh", "-c", command], node=node)
        assert pasted.stdout == f"I am {node[-1]} 0 3 {node}\n"


def test_secret_appears_in_no_record_log_or_command_line(lab3: Lab, tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("VALUE=hunter2\n")
    source = "import os, sys\nprint('it has', len(os.environ['VALUE']), 'and', len(sys.argv[2]))\n"
    script = write(tmp_path / "job", "secret.py", source)
    words = ("--launcher", "direct", "--env-file", file)
    argument = "postgres://me:hunter2@db"
    done = launch(lab3, *words, script, "--db", argument)
    assert f"it has 7 and {len(argument)}" in done.stdout
    run = run_name(done.stderr)
    folders = [lab3.home / ".local/state/orch/runs" / run]
    folders += [lab3.files(node) / "home/.local/state/orch/runs" / run for node in lab3.nodes]
    for folder in folders:
        for path in folder.rglob("*"):
            assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    dry = launch(lab3, *words, "--dry-run", script, "--db", argument)
    assert "hunter2" not in dry.stdout + dry.stderr
