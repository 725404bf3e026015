"""orch's loggers: silent without a handler, with the name of the node."""

from __future__ import annotations

import logging
import subprocess
import sys
import timeit

from orchestrator.util.log import logger, node_logger


def test_logger_without_a_handler_is_silent() -> None:
    script = "from orchestrator.util.log import logger; logger('ssh').error('broke')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_record_of_a_node_has_its_name() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    room = logger("test-of-a-node")
    room.addHandler(handler)
    try:
        node_logger("test-of-a-node", "node1").warning("gone for %d s", 3)
    finally:
        room.removeHandler(handler)
    (record,) = records
    assert (record.name, vars(record)["node"]) == ("orch.test-of-a-node", "node1")
    assert record.getMessage() == "gone for 3 s"


def test_logger_that_is_off_formats_nothing() -> None:
    class Fails:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    off = node_logger("ssh", "node1")
    assert timeit.timeit(lambda: off.debug("%s", Fails()), number=100_000) < 5.0
