"""Serve completions in the shape of vLLM on Ray: one tensor-parallel worker a node, HTTP on the head.

The engine is a stand-in: each worker has a shard of one matrix.
"""

import argparse
import json
import os
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

import ray
import torch
import torch.distributed as dist
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

_VOCABULARY = 64


@ray.remote(num_cpus=1)
class Worker:
    """A rank of the engine."""

    def address(self) -> tuple[str, int]:
        with socket.socket() as listening:
            listening.bind((os.environ["VLLM_HOST_IP"], 0))
            return listening.getsockname()

    def start(self, init_method: str, rank: int, world: int) -> str:
        dist.init_process_group("gloo", init_method=init_method, rank=rank, world_size=world)
        whole = torch.eye(_VOCABULARY).roll(1, dims=1)  # the next token is the next number
        self.shard = whole.chunk(world)[rank]
        return os.uname().nodename

    def next_token(self, token: int) -> int:
        mine = torch.zeros(_VOCABULARY)
        mine[token] = 1
        logits = mine.chunk(dist.get_world_size())[dist.get_rank()] @ self.shard
        dist.all_reduce(logits)
        return int(logits.argmax())


class Engine:
    """Workers in a placement group, one on each node."""

    def __init__(self, size: int) -> None:
        group = placement_group([{"CPU": 1}] * size, strategy="STRICT_SPREAD")
        ray.get(group.ready(), timeout=60)
        self.workers = [
            Worker.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=index
                )
            ).remote()
            for index in range(size)
        ]
        address, port = ray.get(self.workers[0].address.remote())
        starts = [
            worker.start.remote(f"tcp://{address}:{port}", rank, size)
            for rank, worker in enumerate(self.workers)
        ]
        self.nodes = ray.get(starts)

    def complete(self, token: int, length: int) -> list[int]:
        tokens = []
        for _ in range(length):
            answers = ray.get([worker.next_token.remote(token) for worker in self.workers])
            (token,) = set(answers)
            tokens.append(token)
        return tokens


class Handler(BaseHTTPRequestHandler):
    engine: Engine

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens = self.engine.complete(int(asked["prompt"]), asked["max_tokens"])
        answer = json.dumps({"choices": [{"text": " ".join(map(str, tokens))}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    args = parser.parse_args()
    ray.init(address="auto")
    Handler.engine = Engine(args.tensor_parallel_size)
    with HTTPServer((args.host, args.port), Handler) as server:
        print(f"serving on port {args.port} with {sorted(Handler.engine.nodes)}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
