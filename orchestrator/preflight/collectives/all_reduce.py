"""Run one rank of a small job: all-reduce, check the sum, then exchange data between pairs of nodes.

orch copies this file to the nodes and starts it as it would start a training script. Its one argument is a
JSON object (`Task.argument` in task.py). It prints lines of the task's `mark` and a JSON object:

    {"joined": {"rank": RANK}}
    {"summed": {"rank": RANK, "size": BYTES, "right": true | false}}
    {"all_reduced": {"rank": 0, "size": BYTES, "seconds": [of the slowest rank, by trial]}}
    {"exchanged": {"rank": RANK, "pair": [NODE, NODE], "size": BYTES, "seconds": [of this rank, by trial]}}
    {"done": {"rank": RANK}}

It runs alone, on any Python (3.8 or later) and PyTorch that a node has.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

_WARM_UPS, _TRIALS = 5, 20
_PERIOD = 251  # a prime, so that no chunk of a ring can be mistaken for another
_STRIDE = 31
_EXIT_DELAY = 3.0  # seconds


def become_rank(devices: Sequence[int]) -> list[subprocess.Popen[bytes]]:
    """Set this rank's environment; if only the node is known, be its first rank and start the others.

    `devices` has the number of ranks of each node. Returns the ranks that it started.
    """
    if "RANK" in os.environ:
        return []
    node = int(os.environ["NODE_RANK"])
    environments = [
        {
            "RANK": str(sum(devices[:node]) + k),
            "LOCAL_RANK": str(k),
            "WORLD_SIZE": str(sum(devices)),
        }
        for k in range(devices[node])
    ]
    others = [
        subprocess.Popen([sys.executable, "-u", *sys.argv], env={**os.environ, **environment})
        for environment in environments[1:]
    ]
    os.environ.update(environments[0])
    return others


class Rank:
    """This rank, once it has joined the others."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._mark: str = task["mark"]
        self._budget: float = task["budget"]
        self._device = torch.device("cpu")
        if task["backend"] == "nccl":
            self._device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self._device)
        dist.init_process_group(task["backend"], timeout=timedelta(seconds=task["join_timeout"]))
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._report("joined")

    def measure(self, sizes: Sequence[int], rounds: Any, devices: Sequence[int]) -> None:
        """Do everything; all ranks do the same in the same order."""
        size = self._reduce_all(sizes)
        leaders = [sum(devices[:node]) for node in range(len(devices))]
        for pairs in rounds:
            self._exchange(pairs, leaders, size)
        self._report("done")
        self._slowest(0.0)  # no rank leaves before all are done

    def _reduce_all(self, sizes: Sequence[int]) -> int:
        """All-reduce each size (bytes) that the budget allows; return the largest."""
        done, typical = 0, 0.0
        for size in sizes:
            if done and typical * size / done > self._budget:
                break  # by the time of the smaller size, this one would take too long
            given = self._repeated([self._value(k, self._rank) for k in range(_PERIOD)], size)
            data = torch.empty_like(given)

            def reduce() -> float:
                data.copy_(given)  # noqa: B023 - called within this turn of the loop
                return self._timed(lambda: dist.all_reduce(data))  # noqa: B023

            _, seconds = self._repeat(reduce)
            sums = [sum(self._value(k, r) for r in range(self._world)) for k in range(_PERIOD)]
            right = torch.equal(data, self._repeated(sums, size))
            self._report("summed", size=size, right=right)
            if self._rank == 0:
                self._report("all_reduced", size=size, seconds=seconds)
            done, typical = size, sorted(seconds)[len(seconds) // 2]
        return done

    def _exchange(
        self, pairs: Sequence[tuple[int, int]], leaders: Sequence[int], size: int
    ) -> None:
        """Send `size` bytes both ways at once within each of these pairs of nodes, all pairs at once."""
        mine = [pair for pair in pairs if self._rank in (leaders[pair[0]], leaders[pair[1]])]
        out = torch.zeros(size // 4, device=self._device) if mine else None
        into = torch.empty_like(out) if out is not None else None

        def exchange() -> float:
            if out is None or into is None:
                return 0.0
            first, second = (leaders[node] for node in mine[0])
            peer = second if self._rank == first else first
            both = [dist.P2POp(dist.isend, out, peer), dist.P2POp(dist.irecv, into, peer)]
            return self._timed(lambda: [work.wait() for work in dist.batch_isend_irecv(both)])

        own, _ = self._repeat(exchange)
        if mine:
            self._report("exchanged", pair=mine[0], size=size, seconds=own)

    def _repeat(self, action: Callable[[], float]) -> tuple[list[float], list[float]]:
        """Return this rank's seconds and the slowest rank's, of as many trials as the budget allows."""
        spent = last = 0.0
        for _ in range(_WARM_UPS):
            last = self._slowest(action())
            spent += last
            if spent > self._budget:
                break
        own, slowest = [], []
        for _ in range(max(1, min(_TRIALS, int(self._budget / max(last, 1e-6))))):
            own.append(action())
            slowest.append(self._slowest(own[-1]))
        return own, slowest

    def _slowest(self, seconds: float) -> float:
        """Return the maximum over all ranks, the same on each of them."""
        most = torch.tensor([seconds], dtype=torch.float64, device=self._device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return float(most.item())

    def _timed(self, action: Callable[[], Any]) -> float:
        self._synchronize()
        began = time.perf_counter()
        action()
        self._synchronize()
        return time.perf_counter() - began

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    @staticmethod
    def _value(position: int, rank: int) -> int:
        # Small integers: their sum is exact in float32, in any order.
        return (position + _STRIDE * rank) % _PERIOD

    def _repeated(self, values: Sequence[int], size: int) -> torch.Tensor:
        count = size // 4
        row = torch.tensor(values, dtype=torch.float32, device=self._device)
        return row.repeat(count // _PERIOD + 1)[:count].contiguous()

    def _report(self, kind: str, **fields: Any) -> None:
        # A line of its own, in one write, whatever else prints here.
        message = json.dumps({kind: {"rank": self._rank, **fields}})
        os.write(1, f"\n{self._mark}{message}\n".encode())


def main() -> None:
    """Do the task within its time limits, whatever happens to the others and to the controller."""
    task = json.loads(sys.argv[1])
    # torch's own timeout, which says more, comes before this one, but not if packets are dropped.
    faulthandler.dump_traceback_later(task["join_timeout"] + _EXIT_DELAY, exit=True)
    others = become_rank(task["devices"])
    torch.set_num_threads(1)
    rank = Rank(task)
    faulthandler.dump_traceback_later(task["limit"], exit=True)
    rank.measure(task["sizes"], task["rounds"], task["devices"])
    dist.destroy_process_group()  # when no tensor of this script is alive any more
    raise SystemExit(max([abs(other.wait()) for other in others], default=0))


if __name__ == "__main__":
    main()
