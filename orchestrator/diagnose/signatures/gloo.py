"""gloo, and what torch.distributed reports for every backend."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="gloo.loopback",
        meaning="gloo advertises the loopback address",
        patterns=(r"(?:connect|timed out).*remote=\[(?:::ffff:)?127\.",),
        cause="the host's own name resolves to 127.0.0.1 or 127.0.1.1, so peers connect to themselves",
        fix="set GLOO_SOCKET_IFNAME on each node to the interface of the training network",
        check="host.name",
    ),
    Signature(
        id="gloo.own-name-unknown",
        meaning="a host cannot resolve its own name",
        patterns=(
            r"Unable to resolve hostname to a (?:\(local\) )?address",
            r"makeDeviceForHostname\(\): unsupported gloo device",
        ),
        cause="/etc/hosts has no entry for the host's name, so gloo finds no address",
        fix="set GLOO_SOCKET_IFNAME on that node, or add its name to /etc/hosts",
        kind=Kind.SYMPTOM,
        check="host.name",
    ),
    Signature(
        id="gloo.no-interface",
        meaning="gloo finds no address on the interface",
        patterns=(r"Unable to find address for: (?P<interface>\S{1,64})",),
        cause="GLOO_SOCKET_IFNAME is {interface}, which this node does not have; gloo accepts no patterns",
        fix="set it on each node to the full name of one interface",
        check="nic.pick",
    ),
    Signature(
        id="gloo.mesh",
        meaning="gloo could not connect all ranks to each other",
        patterns=(r"connectFullMesh failed",),
        cause="a peer died, or the ephemeral ports between the nodes are closed",
        fix="look at the rank that failed first; if none did, open all TCP ports between the nodes",
        kind=Kind.SYMPTOM,
        check="net.tcp",
    ),
    Signature(
        id="gloo.peer-gone",
        meaning="gloo lost a peer",
        patterns=(
            r"Connection closed by peer",
            r"Connection reset by peer",
            r"gloo.*Broken pipe",
            # TCP gave up: the machine, or the route to it, is gone.
            r"(?:Read|Write) error \[\S{1,64}\]:\d+: Connection timed out",
            r"(?:Read|Write) error \[\S{1,64}\]:\d+: No route to host",
            r"Application timeout caused pair closure",
            r"monitoredBarrier, but received errors while waiting",
        ),
        cause="another rank has ended",
        fix="look at the rank that failed first",
        kind=Kind.CASCADE,
        after="a rank that died",
    ),
    Signature(
        id="gloo.timed-out",
        meaning="a peer did not send or receive in time",
        patterns=(r"Timed out waiting \d+ms for (?:recv|send) operation",),
        cause="another rank is slow, hangs, or has died",
        fix="look for the rank that did not reach this collective",
        kind=Kind.CASCADE,
        after="a rank that hangs or died",
    ),
    Signature(
        id="dist.rank-late",
        meaning="ranks did not reach the barrier",
        patterns=(r"Ranks? (?P<ranks>[\d, ]{1,200}) failed to pass monitoredBarrier",),
        cause="rank {ranks} hangs, is slow, or has died",
        fix="see what it does instead: py-spy dump --pid PID (orch: `orch stacks`)",
    ),
    Signature(
        id="dist.collectives-differ",
        meaning="ranks call different collectives",
        patterns=(
            r"Detected mismatch between collectives",
            r"op\.preamble\.length <= op\.nbytes",  # of gloo, without DETAIL
        ),
        cause="the code takes another path, or has tensors of another shape, on some rank",
        fix="move collectives out of branches that depend on the rank or its data; "
        "TORCH_DISTRIBUTED_DEBUG=DETAIL names them",
    ),
    Signature(
        id="dist.not-destroyed",
        meaning="a thread was still running at exit",
        patterns=(r"terminate called without an active exception",),
        # Occasionally seen after destroy_process_group(), too: pytorch/pytorch#179291.
        cause="the interpreter exited while threads of PyTorch, such as gloo's, were still running",
        fix="call torch.distributed.destroy_process_group() at the end of the script; if it does, this is "
        "a race in PyTorch: check whether the rank had finished its work",
        kind=Kind.SYMPTOM,
        after="a script that ended early, or without destroy_process_group()",
    ),
    Signature(
        id="dist.leak-warning",
        meaning="the process group was not destroyed",
        patterns=(r"destroy_process_group\(\) was not called before program exit",),
        cause="the script ended without destroy_process_group()",
        fix="call torch.distributed.destroy_process_group() at the end of the script",
        kind=Kind.NOISE,
    ),
    Signature(
        id="dist.no-backend",
        meaning="torch does not have this backend",
        patterns=(
            r"Distributed package doesn't have (?P<backend>\w{1,32}) built in",
            r"ProcessGroup(?P<backend>\w{1,16}) is only supported with GPUs",
        ),
        cause="this build of torch lacks {backend}, or finds no GPU on this node",
        fix="install a CUDA build of torch, or use the backend gloo on CPU",
        check="sw.torch",
    ),
    Signature(
        id="ddp.unused-parameters",
        meaning="parts of the model were not used in the loss",
        patterns=(
            r"Expected to have finished reduction in the prior iteration",
            r"LightningModule has parameters that were not used in producing the loss",
        ),
        cause="DDP waits for the gradients of parameters that forward() did not use",
        fix="use every parameter, or pass find_unused_parameters=True to DDP",
    ),
    Signature(
        id="ddp.ready-twice",
        meaning="a parameter was used twice in a step",
        patterns=(
            r"Expected to mark a variable ready only once",
            r"has already been reduced\. Gradient computed twice",  # DeepSpeed
        ),
        cause="forward() runs several times before backward(), or with activation checkpointing",
        fix="use DDP with static_graph=True, or checkpointing with use_reentrant=False",
    ),
    Signature(
        id="ddp.models-differ",
        meaning="ranks have different models",
        patterns=(
            r"DDP expects same model across all ranks",
            r"params\[\d+\] in this process.*(?:does not match|appears not to match)",
        ),
        cause="the model depends on something that differs by rank: arguments, data, or a version",
        fix="build the same model on all ranks; check that all nodes have the same code and configuration",
        check="sw.code",
    ),
)
