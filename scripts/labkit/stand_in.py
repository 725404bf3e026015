"""Stand in for Python on the nodes of a crowd (`crowd.py`): start agents without starting Python.

This program imports the node side once, and forks an agent for each login, of which `stand_in_login.py`
hands over the standard streams. The agents are real, and so are their folders, each below its own home.
What is not: facts name one address of the host as if it were alone there; the answers of probes are those
of the first node that was asked; connections between nodes are said to pass; and a run is files as a
supervisor writes them, whose ranks print a line and succeed, or with `sleep` in their command, wait to be
stopped. No process is looked for: a thousand agents that read a thousand processes each take minutes.

It is copied to the host together with orch's node side.
"""

from __future__ import annotations

import array
import fcntl
import gc
import hashlib
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_FOLDER = Path(__file__).parent
_SOCKET = str(_FOLDER / "socket")
_HOMES = Path.home() / "crowd"
_MAX_ENVIRONMENT = 1 << 17  # bytes
_OWN = ("host.identity", "names.own_name")  # probes that are answered for each node


def serve() -> None:
    """Fork an agent for each connection, until killed."""
    sys.path.insert(0, str(_FOLDER))
    package = importlib.import_module("orchestrator.node")
    for module in pkgutil.walk_packages(package.__path__, "orchestrator.node."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(_SOCKET)
    listener.listen(4096)
    listener.settimeout(1.0)
    gc.freeze()
    while True:
        _reap()
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            if os.fork() == 0:
                listener.close()
                _become_agent(connection)


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _become_agent(connection: socket.socket) -> NoReturn:
    code = 1
    try:
        connection.setblocking(True)
        _take_over(connection)
        _alone(os.environ["SSH_CONNECTION"].split()[2])
        from orchestrator.node import serve as agent

        agent.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _take_over(connection: socket.socket) -> None:
    """Make the streams and the environment of a login this process's own."""
    space = socket.CMSG_SPACE(3 * array.array("i").itemsize)
    environment, rights, _, _ = connection.recvmsg(_MAX_ENVIRONMENT, space)
    streams = array.array("i")
    streams.frombytes(rights[0][2])
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    pairs = (entry.partition(b"=") for entry in environment.split(b"\0"))
    os.environb.clear()
    os.environb.update({name: value for name, _, value in pairs})
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _alone(address: str) -> None:
    """Make this process's node one with only this address."""
    home = _HOMES / address
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["HOME"] = str(home)
    os.chdir(home)
    if (slow := _FOLDER / "slow" / address).exists():
        time.sleep(float(slow.read_text()))
    from orchestrator.node import check, daemon, facts, network, probe, processes, supervise
    from orchestrator.node.probes import host, names

    name = "host-" + address.replace(".", "-")
    one = {"name": "eth0", "addresses": [address + "/17"], "speed": None, "loopback": False}

    def passed(limit: float, targets: list[Any], **_: Any) -> list[dict[str, Any]]:
        return [{"result": "ok", "seconds": 0.0002, "local": address, "source": address}] * len(
            targets
        )

    own: dict[str, Any] = {
        "identity": {"machine": None, "boot": address, "mac": None, "gpus": []},
        "own_name": {"hostname": name, "addresses": [address], "error": None},
    }
    find = check.find_probe
    replacements: list[tuple[Any, str, Any]] = [
        (socket, "gethostname", lambda: name),
        (facts, "identity", lambda: address),
        (network, "interfaces", lambda: [one]),
        (probe, "probe", passed),
        (host, "identity", lambda **_: own["identity"]),
        (names, "own_name", lambda **_: own["own_name"]),
        (check, "find_probe", lambda name: find(name) if name in _OWN else _asked_once(name, find)),
        (daemon, "daemonise", _begin_run),
        (supervise, "request_stop", _end_run),
        (processes, "of_run", lambda directory: set()),
        (processes, "supervisors", lambda directory: set()),
        (processes, "is_alive", lambda pid, start: True),
        (processes, "kill_all", lambda directory: []),
    ]
    for module, attribute, value in replacements:
        setattr(module, attribute, value)


def _asked_once(name: str, find: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    """Return a probe whose answer is the same for all nodes; the first one to be asked finds it."""

    def answer(**arguments: Any) -> Any:
        given = hashlib.sha256(repr((name, _HOMES, sorted(arguments))).encode()).hexdigest()
        path = _FOLDER / "answers" / given
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if text := file.read():
                return json.loads(text)
            found = find(name)(**arguments)
            file.write(json.dumps(found))
            return found

    return answer


def _begin_run(spec: dict[str, Any], keep: list[int]) -> None:
    """Write the files of a run that has started, and unless it sleeps, ended."""
    from orchestrator.node import files

    directory = files.run_directory(spec["run"], spec["node"])
    folder = files.attempt_folder(directory, spec["attempt"])
    files.make_folder(folder)
    sleeps = any("sleep" in word for each in spec["processes"] for word in each["argv"])
    now = time.time()
    ended = None if sleeps else now
    for process in spec["processes"]:
        rank = process["rank"]
        record = {
            "pid": os.getpid(), "started": now, "ended": ended, "code": None if sleeps else 0,
            "signal": None, "rank": rank, "local_rank": process["local_rank"], "attempt": spec["attempt"],
            "error_file": None, "oom_kills": 0,
        }  # fmt: skip
        base = f"{folder}/rank-{rank:d}"
        Path(base + ".out").write_text("hello from a rank\n")
        files.write_json(base + ".json", record)
    files.write_json(f"{directory}/status.json", {
        "state": "running" if sleeps else "ended", "attempt": spec["attempt"], "pid": os.getpid(),
        "start": 1, "began": now, "ended": ended, "launcher": None, "stopped": None,
        "stopped_detail": None, "stopped_at": None, "left": [], "behind": None,
    })  # fmt: skip


def _end_run(directory: str, grace: float, reason: str, detail: dict[str, Any]) -> bool:
    """Write that the run was stopped, and its ranks by SIGTERM; return whether it ran."""
    from orchestrator.node import files

    status = json.loads(Path(directory, "status.json").read_text())
    if status["state"] == "ended":
        return False
    now = time.time()
    for path in Path(directory).glob("attempt-*/rank-*.json"):
        record = json.loads(path.read_text())
        files.write_json(str(path), {**record, "ended": now, "signal": int(signal.SIGTERM)})
    stopped = {"stopped": reason, "stopped_detail": detail, "stopped_at": now}
    ended = {**status, **stopped, "state": "ended", "ended": now}
    files.write_json(f"{directory}/status.json", ended)
    return True


if __name__ == "__main__":
    serve()
