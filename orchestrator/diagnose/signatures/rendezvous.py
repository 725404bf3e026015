"""Ranks that do not find together: torch's store, its barrier, torchrun's rendezvous."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="store.clients-missing",
        meaning="ranks are missing: {joined} of {expected} came",
        patterns=(
            (
                r"Timed out after \d+ seconds waiting for clients\. "
                r"(?P<joined>\d{1,9})/(?P<expected>\d{1,9}) clients joined"
            ),
        ),
        cause="the other ranks were not started, could not reach the main node, or died before",
        fix="look at the nodes whose ranks printed nothing, or an error; then at the network",
        check="net.tcp",
    ),
    Signature(
        id="store.barrier",
        meaning="{joined} of {expected} ranks came to the first barrier",
        patterns=(
            (
                r"(?<!Waiting in )store.based.barrier.*\(world_size=(?P<expected>\d{1,9}), "
                r"(?:worker_count|num_workers_joined)=(?P<joined>\d{1,9}), timeout"
            ),
            (
                r"Timed out initializing process group.*world_size=(?P<expected>\d{1,9}), "
                r"\w+=(?P<joined>\d{1,9})"
            ),
        ),
        cause="fewer: ranks were not started or died; more: ranks disagree on the world size, or an "
        "older run still uses the store",
        fix="look at the ranks that are missing; raise the timeout if nodes start slowly",
    ),
    Signature(
        id="store.key-missing",
        meaning="a rank waited in vain for another one's entry in the store",
        patterns=(r"wait timeout after \d+ms, keys: \S", r"Socket Timeout$"),
        cause="the rank that should write the entry is late, hangs, or has died",
        fix="look for the rank that printed an error, or nothing",
        kind=Kind.SYMPTOM,
        after="a rank that died or hangs",
    ),
    Signature(
        id="store.closed",
        meaning="the store on rank 0 is gone",
        patterns=(
            r"Failed to recv, got 0 bytes",
            r"Connection was likely closed\. Did the remote server shutdown or crash",
            r"(?:sendBytes|recvBytes|recvValue|TCPStore).*Broken pipe",
            r"(?:sendBytes|recvBytes|recvValue|TCPStore).*Connection reset by peer",
        ),
        cause="the process that holds the store (rank 0, or its launcher) has ended",
        fix="look at rank 0 and at the rank that failed first",
        kind=Kind.CASCADE,
        after="the end of rank 0",
    ),
    Signature(
        id="rendezvous.closed",
        meaning="the rendezvous is closed",
        patterns=(r"RendezvousClosedError",),
        cause="another node has already given the run up",
        fix="look at the node that failed first",
        kind=Kind.CASCADE,
        after="a node that failed",
    ),
    Signature(
        id="rendezvous.timed-out",
        meaning="nodes are missing at torchrun's rendezvous",
        patterns=(r"RendezvousTimeoutError",),
        cause="fewer nodes than --nnodes came within the join timeout",
        fix="see that every node was started with the same endpoint, id and --nnodes, and reaches it",
        check="net.tcp",
    ),
    Signature(
        id="rendezvous.unreachable",
        meaning="torchrun cannot reach its rendezvous",
        # At the end of any run the node that serves it may be the first to go; the others warn of that.
        patterns=(
            r"^(?!.*has failed to (?:shutdown|send a keep-alive)).*RendezvousConnectionError",
        ),
        cause="at the start: wrong address, closed port, or its node is not up; later: the node that "
        "serves it has ended",
        fix="look at the node that failed first; at the start check --rdzv-endpoint, and on the node that "
        "serves it set --rdzv-conf is_host=1",
        kind=Kind.SYMPTOM,
        after="the end of the node that serves it",
        check="net.tcp",
    ),
    Signature(
        id="job.no-rank",
        meaning="a rank does not say which it is",
        patterns=(r"rendezvous: (?:rank|world size) parameter missing",),
        cause="init_process_group is told where to meet, and no rank or world size with it",
        fix='leave init_method out: the default, "env://", reads all of it from the launcher\'s variables',
        check="sw.script",
    ),
    Signature(
        id="job.no-environment",
        meaning="the script was not started by a launcher",
        patterns=(r"rendezvous: environment variable (?P<name>\w{1,64}) expected, but not set",),
        cause="{name} is not set: env:// needs RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        fix="start it with torchrun, or with the launcher `direct`",
    ),
    Signature(
        id="job.not-initialized",
        meaning="a collective before init_process_group",
        patterns=(r"Default process group has not been initialized",),
        cause="the script uses torch.distributed before, or without, init_process_group",
        fix="call torch.distributed.init_process_group() first",
    ),
)
