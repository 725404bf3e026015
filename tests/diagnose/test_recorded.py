"""Every signature on a text that real software printed, and none on a healthy log."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.diagnose import SIGNATURES, Diagnosis, Evidence, Exit, Kind, Source, diagnose

TEXTS = Path(__file__).parent.parent / "recorded" / "failures"

# Printed by software that was made to fail: tests/recorded/failures/cases.py.
PRINTED = {
    "traceback-switched-off": "python.last-line",
    "accelerate-config-keys": "accelerate.unknown-key",
    "accelerate-config-missing": "accelerate.no-config",
    "accelerate-option-unknown": "accelerate.option",
    "accelerate-fsdp-options": "accelerate.option",
    "deepspeed-local-rank": "launcher.local-rank-option",
    "allocator": "memory.allocation",
    "arguments-unknown": "launcher.arguments",
    "checkpoint-distributed": "disk.no-file",
    "checkpoint-of-a-gpu": "state.device",
    "checkpoint-torn": "state.torn",
    "checkpoint-weights-only": "state.weights-only",
    "collective-shapes-differ": "dist.collectives-differ",
    "collectives-differ": "dist.collectives-differ",
    "command-missing": "launcher.no-command",
    "cuda-backend-missing": "dist.no-backend",
    "cuda-not-compiled": "cuda.not-compiled",
    "cuda-set-device": "cuda.not-compiled",
    "ddp-models-differ": "ddp.models-differ",
    "ddp-ready-twice": "ddp.ready-twice",
    "ddp-unused-parameters": "ddp.unused-parameters",
    "disk-full": "disk.checkpoint",
    "download": "net.unreachable",
    "download-name": "net.name-unknown",
    "environment-missing": "job.no-environment",
    "file-limit": "disk.file-limit",
    "exit-3": "exit.code",
    "fabric-click-missing": "lightning.no-click",
    "fabric-cuda-missing": "lightning.no-accelerator",
    "fabric-launch-twice": "lightning.launched-twice",
    "file-missing": "disk.no-file",
    "gloo-loopback": "gloo.loopback",
    "gloo-monitored-barrier": "dist.rank-late",
    "gloo-monitored-barrier-died": "exit.kill",
    "gloo-no-interface": "gloo.no-interface",
    "gloo-own-name-unknown": "gloo.own-name-unknown",
    "gloo-peer-died": "python.exception",
    "gloo-rank-ended-early": "gloo.peer-gone",
    "gloo-send-timeout": "gloo.timed-out",
    "gloo-sizes-differ": "dist.collectives-differ",
    "gloo-timeout": "gloo.timed-out",
    "init-barrier": "store.barrier",
    "init-rank-missing": "store.clients-missing",
    "init-rank-not-given": "job.no-rank",
    "interpreter-missing": "launcher.no-command",
    "interrupted": "python.interrupted",
    "library-missing": "python.no-library",
    "lightning-member-missing": "store.clients-missing",
    "loader-descriptors": "limits.files",
    "loss-nan": "training.nan",
    "memory-error": "memory.allocation",
    "module-missing": "python.no-module",
    "name-missing": "python.no-name",
    "not-initialized": "job.not-initialized",
    "old-launch-module": "launcher.local-rank-option",
    "open-files": "limits.files",
    "permission": "disk.permission",
    "raises": "python.exception",
    "raises-recorded": "python.exception",
    "rank-required": "launcher.rank-arguments",
    "ray-actor-killed": "ray.worker-died",
    "ray-gpus": "ray.gpus",
    "ray-no-head": "ray.no-head",
    "ray-node-lost": "ray.node-died",
    "ray-raylet-killed": "ray.process-died",
    "ray-worker-killed": "ray.worker-died",
    "read-only": "disk.read-only",
    "rendezvous-timeout": "rendezvous.timed-out",
    "rendezvous-unreachable": "net.unreachable",
    "script-missing": "launcher.no-script",
    "shell-killed": "exit.kill",
    "shell-segv": "exit.segv",
    "shm-bus-error": "memory.shm",
    "signal-abrt": "exit.abort",
    "signal-bus": "exit.bus",
    "signal-fpe": "exit.arithmetic",
    "signal-ill": "exit.illegal",
    "signal-kill": "exit.kill",
    "signal-segv": "exit.segv",
    "spawn-killed": "exit.kill",
    "spawn-raises": "python.exception",
    "spawn-without-guard": "spawn.no-guard",
    "state-dict": "state.mismatch",
    "store-clients-missing": "store.clients-missing",
    "store-key-missing": "store.key-missing",
    "store-port-in-use": "net.port-in-use",
    "store-refused": "net.no-host",
    "store-server-died": "exit.kill",
    "store-unknown-name": "net.name-unknown",
    "syntax-too-new": "python.syntax",
    "tee": "python.exception",
    "threads": "limits.threads",
    "torchrun-port-in-use": "net.port-in-use",
    "torchrun-terminated": "torchrun.signalled",
    "trainer-slurm-tasks": "lightning.world-size",
    "trainer-unused-parameters": "ddp.unused-parameters",
    "trainer-world-size": "lightning.world-size",
    "worker-exited": "loader.exited",
    "worker-killed": "loader.killed",
    "worker-raised": "disk.no-file",
    "worker-timeout": "loader.slow",
}

# As published, of failures that need hardware or a state of the host that a test cannot have.
PUBLISHED = {
    "batches-differ": "hang.uneven",
    "nccl-connected": "hang.connected",
    "saved-by-some": "hang.saving",
    "barrier-waiting": "job.half-missing",
    "lock-waiting": "lock.waiting",
    "accelerate-child": "python.exception",
    "accelerate-port-in-use": "net.port-in-use",
    "address-not-here": "net.address-not-here",
    "cache-inductor-torn": "cache.shared",
    "cache-triton-replaced": "cache.shared",
    "checkpoint-compiled": "state.compiled",
    "checkpoint-renamed": "shared.renamed",
    "checkpoint-shards": "state.shards-missing",
    "checkpoint-vocabulary": "state.vocabulary",
    "checkpoint-world-size": "state.world-size",
    "checkpoint-zero-empty": "state.zero-empty",
    "cuda-architecture": "cuda.architecture",
    "cuda-assert": "cuda.assert",
    "cuda-busy": "cuda.busy",
    "cuda-busy-newer": "cuda.busy",
    "cuda-driver-combination": "cuda.driver-mismatch",
    "cuda-driver-mismatch": "cuda.driver-mismatch",
    "cuda-driver-old": "cuda.driver-old",
    "cuda-ecc": "cuda.ecc",
    "cuda-fabric-manager": "cuda.fabric-manager",
    "cuda-forked": "cuda.forked",
    "cuda-illegal-access": "cuda.illegal-access",
    "cuda-library": "cuda.library",
    "cuda-lost": "cuda.lost",
    "cuda-memory": "cuda.memory",
    "cuda-no-device": "cuda.no-device",
    "cuda-nvlink": "cuda.nvlink",
    "cuda-xid": "cuda.xid",
    "data-empty": "data.empty",
    "data-lengths": "data.lengths-differ",
    "deepspeed-batch": "deepspeed.batch",
    "deepspeed-killed": "exit.kill",
    "deepspeed-loss-scale": "training.loss-scale",
    "deepspeed-world-one": "deepspeed.world-one",
    "extension-architecture": "extension.architecture",
    "extension-build": "extension.build",
    "extension-compiler": "extension.unsupported-compiler",
    "extension-cuda-version": "extension.cuda-version",
    "extension-header": "extension.header",
    "extension-no-ninja": "extension.no-ninja",
    "extension-no-toolkit": "extension.no-toolkit",
    "folder-made-twice": "shared.made",
    "folder-removed": "shared.removed",
    "gloo-not-destroyed": "dist.not-destroyed",
    "hub-rate-limit": "net.rate-limited",
    "hub-unreachable": "net.no-internet",
    "library-cudnn": "library.cudnn",
    "library-nvml": "library.nvml",
    "library-shadowed": "library.shadowed",
    "lock-left": "lock.left",
    "lock-unsupported": "lock.unsupported",
    "mpirun-daemon": "mpirun.daemon",
    "mpirun-killed": "exit.kill",
    "mpirun-root": "mpirun.root",
    "mpirun-slots": "mpirun.slots",
    "nccl-address": "net.link-local",
    "nccl-bootstrap": "nccl.bootstrap",
    "nccl-call-failed": "nccl.call-failed",
    "nccl-cuda-error": "nccl.cuda-failure",
    "nccl-duplicate-gpu": "nccl.duplicate-gpu",
    "nccl-efa": "nccl.efa",
    "nccl-efa-group": "nccl.efa-group",
    "nccl-error": "nccl.error",
    "nccl-flushed": "nccl.peer-gone",
    "nccl-gid": "nccl.gid",
    "nccl-gid-older": "nccl.gid",
    "nccl-ib-dead-port": "nccl.ib-dead-port",
    "nccl-ib-event": "nccl.ib-event",
    "nccl-ib-protection": "nccl.ib-protection",
    "nccl-ib-timeout": "nccl.ib-timeout",
    "nccl-invalid-usage": "nccl.invalid-usage",
    "nccl-library": "nccl.library",
    "nccl-memlock": "nccl.memlock",
    "nccl-no-interface": "nccl.no-interface",
    "nccl-no-plugin": "nccl.no-plugin",
    "nccl-no-route": "net.no-route",
    "nccl-nvls": "nccl.nvls",
    "nccl-out-of-memory": "cuda.memory",
    "nccl-peer-access": "nccl.peer-access",
    "nccl-peer-gone": "nccl.peer-gone",
    "nccl-proxy-recv": "nccl.error",
    "nccl-ranks-mixed": "nccl.ranks-mixed",
    "nccl-refused": "net.refused",
    "nccl-refused-2.21": "net.refused",
    "nccl-shm": "nccl.shm",
    "nccl-system-error": "nccl.system-error",
    "nccl-timed-out": "net.timed-out",
    "nccl-versions": "nccl.versions",
    "nccl-warns": "nccl.warns",
    "nccl-watchdog": "nccl.watchdog",
    "nccl-watchdog-groups": "nccl.watchdog",
    "nccl-wrong-interface": "nccl.wrong-interface",
    "numpy-abi": "python.numpy-abi",
    "old-libc": "python.old-libc",
    "oom-killer": "memory.oom-killer",
    "optimizer-world-size": "state.world-size",
    "pdsh-folder": "launcher.no-folder",
    "pdsh-module": "pdsh.module",
    "pod-evicted": "kubernetes.evicted",
    "pod-image": "kubernetes.image",
    "pod-memory": "memory.cgroup",
    "pod-unschedulable": "kubernetes.unschedulable",
    "quota": "disk.quota",
    "ray-memory": "memory.ray",
    "rendezvous-closed": "rendezvous.closed",
    "rendezvous-connection": "rendezvous.unreachable",
    "rendezvous-connection-lost": "rendezvous.unreachable",
    "rendezvous-connection-old": "net.no-host",
    "slurm-cancelled": "slurm.cancelled",
    "slurm-controller": "slurm.controller",
    "slurm-crash": "exit.segv",
    "slurm-invalid": "slurm.invalid",
    "slurm-node-failure": "exit.slurm",
    "slurm-out-of-memory": "memory.slurm",
    "slurm-step-busy": "slurm.step-busy",
    "slurm-step-memory": "slurm.memory-refused",
    "ssh-denied": "ssh.denied",
    "ssh-host-key": "ssh.host-key",
    "ssh-key-changed": "ssh.key-changed",
    "ssh-unreachable": "ssh.unreachable",
    "storage-failing": "disk.failing",
    "symbol": "python.symbol",
    "time-limit": "exit.time-limit",
    "torchrun-hangup": "torchrun.hangup",
    "uncaught": "exit.uncaught",
    "vllm-memory": "cuda.memory-reserved",
    "bitsandbytes": "library.bitsandbytes",
    "checkpoint-metadata": "state.metadata",
    "container-no-gpus": "container.no-gpus",
    "deepspeed-mismatch": "deepspeed.mismatch",
    "hub-gated": "net.unauthorized",
    "hub-not-cached": "net.not-cached",
    "layout": "job.layout",
    "model-not-here": "disk.no-model",
    "mpirun-no-executable": "mpirun.no-executable",
    "nccl-algorithm": "nccl.algorithm",
    "nccl-differ": "nccl.watchdog",
    "nccl-gdr": "nccl.gdr",
    "nccl-heartbeat": "nccl.heartbeat",
    "nccl-ib-error": "nccl.ib-error",
    "nccl-libfabric": "nccl.libfabric",
    "nccl-link-local": "net.link-local",
    "nccl-ofi": "nccl.ofi",
    "ray-group-exists": "ray.group-exists",
    "ray-system-error": "ray.worker-died",
    "rendezvous-endpoint": "rendezvous.endpoint",
    "shared-signal-file": "shared.removed",
    "slurm-container": "slurm.container",
    "slurm-credential": "slurm.credential",
    "slurm-mpi": "slurm.mpi",
    "slurm-no-pyxis": "slurm.no-pyxis",
    "slurm-node-unreachable": "slurm.node-unreachable",
    "ssh-closed": "ssh.closed",
    "store-file": "store.file",
    "tokenizing": "hang.preparing",
    "wandb-init": "net.wandb",
    "xid-nvlink": "cuda.nvlink",
    "apptainer": "container.apptainer",
    "cublas-invalid": "library.cublas",
    "cuda-unknown": "cuda.unknown",
    "extension-op": "extension.op",
    "mpirun-tcp": "mpirun.tcp",
    "nccl-rank-invalid": "nccl.ranks-mixed",
    "ray-no-resources": "ray.no-resources",
    "ray-versions": "ray.versions",
    "slurm-no-node": "slurm.no-node",
    "slurm-output": "slurm.output",
}

HEALTHY = (
    "healthy-cuda-minor",
    "healthy-ddp",
    "healthy-fabric",
    "healthy-ignored",
    "healthy-lightning",
    "healthy-nccl",
    "healthy-offline-retry",
    "healthy-rendezvous-end",
    "healthy-training",
    "healthy-dialogue",
    "healthy-fallback",
    "healthy-shell-trace",
)
HARMLESS = {
    "not-destroyed-warning": "dist.leak-warning",
    "omp-warning": "limits.omp-warning",
    "ray-no-external-address": "ray.no-external-address",
    "healthy-ddp": "net.reverse-name",
}
# Signatures that follow others in the texts above.
BESIDES = {
    "nccl.cuda-error": "nccl-cuda-error",
    "nccl.ib-no-verbs": "nccl-efa",
    "wrapper.see-cause": "vllm-memory",
    "mpirun.daemon": "ssh-host-key",
    "net.port-in-use": "store-port-in-use",
    "gloo.mesh": "gloo-loopback",
    "nccl.taken-down": "nccl-watchdog",
    "torchrun.child-failed": "raises",
    "exit.terminated": "raises",
    "disk.full": "disk-full",
    "store.closed": "store-server-died",
    "training.member-missing": "lightning-member-missing",
}
# Signatures of exit codes, which need no text.
ENDS = {-1: "exit.hangup", -2: "exit.interrupt", -13: "exit.pipe", 126: "exit.not-executable"} | {
    127: "exit.not-found", -25: "disk.file-limit",
}  # fmt: skip


def read(name: str) -> Diagnosis:
    (path,) = TEXTS.glob(f"*/{name}.txt")
    return diagnose([(Source(path.name), [path.read_bytes()])])


@pytest.mark.parametrize(("name", "expected"), (PRINTED | PUBLISHED).items())
def test_recorded_text_gives_its_signature_first(name: str, expected: str) -> None:
    assert read(name).hits[0].signature.id == expected


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_log_has_no_verdict(name: str) -> None:
    diagnosis = read(name)
    assert [hit.signature.id for hit in diagnosis.hits if hit.kind is not Kind.NOISE] == []
    assert diagnosis.verdict is None


@pytest.mark.parametrize(("name", "expected"), HARMLESS.items())
def test_harmless_text_is_noise(name: str, expected: str) -> None:
    (hit,) = read(name).hits
    assert (hit.signature.id, hit.kind) == (expected, Kind.NOISE)


@pytest.mark.parametrize(("expected", "name"), BESIDES.items())
def test_recorded_text_gives_consequences_too(expected: str, name: str) -> None:
    assert expected in {hit.signature.id for hit in read(name).hits}


@pytest.mark.parametrize(("code", "expected"), ENDS.items())
def test_exit_code_alone_is_explained(code: int, expected: str) -> None:
    (hit,) = diagnose([], Evidence(exits=(Exit(rank=0, code=code),))).hits
    assert hit.signature.id == expected


def test_every_signature_has_a_recorded_text() -> None:
    tested = {*PRINTED.values(), *PUBLISHED.values(), *HARMLESS.values(), *BESIDES, *ENDS.values()}
    assert {signature.id for signature in SIGNATURES} - tested == set()


def test_every_recorded_text_is_used() -> None:
    assert {path.stem for path in TEXTS.glob("*/*.txt")} == {
        *PRINTED,
        *PUBLISHED,
        *HEALTHY,
        *HARMLESS,
    }


def test_no_recorded_text_names_the_machine_that_made_it() -> None:
    for path in TEXTS.glob("*/*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "/work/" not in text and "/root/" not in text, path
