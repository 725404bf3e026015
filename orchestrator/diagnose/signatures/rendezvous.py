"""Ranks that do not find each other: torch's store, its barrier, torchrun's rendezvous."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="store.clients-missing",
        meaning="ranks are missing: {joined} of {expected} joined",
        patterns=(
            (
                r"Timed out after \d+ seconds waiting for clients\. "
                r"(?P<joined>\d{1,9})/(?P<expected>\d{1,9}) clients joined"
            ),
        ),
        cause="the other ranks were not started, could not reach the main node, or died before",
        fix="check the nodes whose ranks printed nothing, or an error; then the network",
        check="net.tcp",
    ),
    Signature(
        id="store.barrier",
        meaning="{joined} of {expected} ranks reached the first barrier",
        patterns=(
            (
                r"(?<!Waiting in )(?<!key: )store.based.barrier.*\(world_size=(?P<expected>\d{1,9}), "
                r"(?:worker_count|num_workers_joined)=(?P<joined>\d{1,9}), timeout"
            ),
            (
                r"Timed out initializing process group.*world_size=(?P<expected>\d{1,9}), "
                r"\w+=(?P<joined>\d{1,9})"
            ),
        ),
        cause="fewer: ranks were not started or died; more: ranks disagree on the world size, or an older "
        "run still uses the store",
        fix="look for the ranks that are missing; raise the timeout if nodes start slowly",
    ),
    Signature(
        id="store.key-missing",
        meaning="a rank waited in vain for the entry of another one in the store",
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
        id="store.file",
        meaning="the file of the store cannot be opened",
        patterns=(
            r"RuntimeError: open\((?P<path>[^()\n]{1,400})\): (?P<why>No such file|Permission denied)",
        ),
        cause="{path} (init_method='file://...') is in a folder that this node lacks, or a rank of this or "
        "of an earlier run removed it",
        fix="use a new file in an existing folder of shared storage for each run, or better a port: start "
        "the script with torchrun and init_method='env://'",
        check="shared",
    ),
    Signature(
        id="rendezvous.closed",
        meaning="the rendezvous is closed",
        patterns=(r"RendezvousClosedError",),
        cause="another node has already ended the run",
        fix="look at the node that failed first",
        kind=Kind.CASCADE,
        after="a node that failed",
    ),
    Signature(
        id="rendezvous.timed-out",
        meaning="nodes are missing at torchrun's rendezvous",
        patterns=(r"RendezvousTimeoutError",),
        cause="fewer nodes than --nnodes joined within the timeout",
        fix="check that all nodes have the same endpoint, id and --nnodes, and reach the endpoint",
        check="net.tcp",
        asks=("clocks",),
    ),
    Signature(
        id="rendezvous.unreachable",
        meaning="torchrun cannot reach its rendezvous",
        # At the end of a run, the node that serves it may exit first; the others print a warning.
        patterns=(
            r"^(?!.*has failed to (?:shutdown|send a keep-alive)).*RendezvousConnectionError",
        ),
        cause="at the start: a wrong address, a closed port, or a node that is not up; later: the node "
        "that serves it has ended",
        fix="look at the node that failed first; at the start check --rdzv-endpoint, set --rdzv-conf "
        "is_host=1 on the node that serves it, and use IP addresses, or add the nodes' names to /etc/hosts "
        "on all of them",
        kind=Kind.SYMPTOM,
        after="the end of the node that serves it",
        check="net.tcp",
    ),
    Signature(
        id="rendezvous.endpoint",
        meaning="torchrun's rendezvous endpoint is no HOST:PORT",
        patterns=(
            r"port number of the rendezvous endpoint '(?P<endpoint>[^'\n]{1,255})' must be an integer",
            r"hostname of the rendezvous endpoint '(?P<endpoint>[^'\n]{1,255})' must be a dot-separated",
        ),
        cause="it is {endpoint}: an option or a variable of the launch command is empty or misplaced",
        fix="give --rdzv-endpoint HOST:PORT (accelerate: --main_process_ip and --main_process_port; "
        "--same_network takes no value)",
        check="sw.launcher",
    ),
    Signature(
        id="job.no-rank",
        meaning="a rank does not know its number",
        patterns=(r"rendezvous: (?:rank|world size) parameter missing",),
        cause="init_process_group got an init_method, but no rank or world size",
        fix='omit init_method: the default, "env://", reads all of it from the variables of the launcher',
        check="sw.script",
    ),
    Signature(
        id="job.no-environment",
        meaning="the script was not started by a launcher",
        patterns=(r"rendezvous: environment variable (?P<name>\w{1,64}) expected, but not set",),
        cause="{name} is not set: env:// needs RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        fix="start it with torchrun (orch: --launcher torchrun or direct)",
    ),
    Signature(
        id="job.not-initialized",
        meaning="a collective was called before init_process_group",
        patterns=(r"Default process group has not been initialized",),
        cause="the script uses torch.distributed before, or without, init_process_group",
        fix="call torch.distributed.init_process_group() first",
    ),
)
