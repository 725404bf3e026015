"""NCCL: interfaces, InfiniBand, versions, and collectives that do not complete.

The texts are those of NCCL 2.10 to 2.30; the names of its functions (`socketStartConnect`,
`socketPollConnect`, ...) differ between these versions.
"""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="nccl.no-interface",
        meaning="NCCL finds no network interface",
        patterns=(
            r"\bno (?:\S{1,40} )?interface found",
            r"connecting to address .*with family \d+ is neither AF_INET",
            r"No usable listening interface found",
        ),
        cause="NCCL_SOCKET_IFNAME matches no interface on this node",
        fix="set it on each node to the interface of the training network, or unset it",
        check="nic.pick",
    ),
    Signature(
        id="nccl.wrong-interface",
        meaning="NCCL uses a virtual interface",
        patterns=(
            (
                r"(?:Bootstrap|NET/\w{1,16}) ?: Using (?:\[\d+\])?"
                r"(?P<interface>(?:docker|br-|veth|virbr|cni|flannel|cali)[\w.-]{0,15}|lo):"
            ),
        ),
        cause="NCCL chose {interface}, which other nodes cannot reach",
        fix="set NCCL_SOCKET_IFNAME to the interface of the training network",
        kind=Kind.SYMPTOM,
        check="nic.pick",
    ),
    Signature(
        id="nccl.versions",
        meaning="nodes have different versions of NCCL",
        patterns=(r"Mismatched NCCL version detected",),
        cause="torch, or the NCCL that it loads, is not the same on all nodes",
        fix="install the same torch on all nodes",
        check="sw.versions",
    ),
    Signature(
        id="nccl.duplicate-gpu",
        meaning="two ranks use the same GPU",
        patterns=(r"Duplicate GPU detected", r"Multiple [Rr]anks are using the same GPU"),
        cause="the script does not select its GPU by LOCAL_RANK, or one machine is listed twice",
        fix="call torch.cuda.set_device(int(os.environ['LOCAL_RANK'])) before the first collective",
        check="host.unique",
    ),
    Signature(
        id="nccl.memlock",
        meaning="InfiniBand memory cannot be registered",
        patterns=(
            (
                r"ibv_(?:create_qp|create_cq|reg_mr|alloc_pd|reg_dmabuf_mr)(?>.*?failed).*"
                r"Cannot allocate memory"
            ),
            r"Call to ibv_(?:create_qp|create_cq|reg_mr\w{0,32}) failed$",
        ),
        cause="the limit on locked memory (ulimit -l) is too low in the session that started the job",
        fix="set `* - memlock unlimited` in /etc/security/limits.conf and log in again; for a container: "
        "--ulimit memlock=-1",
        check="ib.memlock",
    ),
    Signature(
        id="nccl.gid",
        meaning="an InfiniBand connection cannot be set up",
        patterns=(r"ibv_modify_qp failed with (?:error|\d+) (?!.*\bretrying\b)",),
        cause="the GID index is wrong for this network (RoCE v2 has its own), or the ports differ",
        fix="set NCCL_IB_GID_INDEX to the RoCE v2 entry (`show_gids`), or unset it with NCCL 2.21 or later",
        check="ib.gid",
    ),
    Signature(
        id="nccl.ib-timeout",
        meaning="InfiniBand packets are lost",
        patterns=(
            r"Got completion .*(?:with error|status=)\s*12\b",
            r"Got completion .*IBV_WC_RETRY_EXC",
            r"\bRETRY_EXC(?:_ERR)?\b",
        ),
        cause="a port is down, a route between two adapters is missing, or the peer has died",
        fix="check ports (`ibstat`) and cables; on a congested fabric, raise NCCL_IB_TIMEOUT",
        check="ib.port",
    ),
    Signature(
        id="nccl.ib-protection",
        meaning="the adapter cannot read GPU memory",
        patterns=(r"IBV_WC_LOC_PROT_ERR", r"Got completion .*(?:with error|status=)\s*4\b"),
        cause="PCI access control (ACS) or an IOMMU blocks GPUDirect RDMA",
        fix="turn ACS off on the PCI bridges, or set NCCL_NET_GDR_LEVEL=LOC",
        check="ib.gdr",
    ),
    Signature(
        id="nccl.ib-event",
        meaning="an InfiniBand adapter reports: {event}",
        patterns=(r"NET/IB ?: \S{1,64} Got async event ?: (?P<event>[^\n]{1,80})",),
        cause="the port went down, its cable or switch is failing, or the adapter had an error",
        fix="check the port (`ibstat`, `ibdiagnet`) and `dmesg` on this node",
        kind=Kind.SYMPTOM,
        check="ib.port",
    ),
    Signature(
        id="nccl.nvls",
        meaning="NCCL cannot use multicast over NVLink",
        patterns=(r"nvls\.cc:\d+ NCCL WARN Cuda failure",),
        cause="NVLink SHARP fails here: fabric manager, driver, container, or a GPU in another state",
        fix="set NCCL_NVLS_ENABLE=0 to do without, or repair the fabric (`nvidia-smi -q`: Fabric)",
        kind=Kind.SYMPTOM,
        check="gpu.fabric",
    ),
    Signature(
        id="nccl.no-plugin",
        meaning="the requested NCCL network is missing",
        patterns=(
            r"Failed to initialize any NET plugin",
            r"NCCL WARN (?:Error: )?network \S+ not found",
        ),
        cause="NCCL_NET (or NCCL_NET_PLUGIN) names a network that this node does not have",
        fix="unset it, or install the plugin on this node",
        check="sw.env",
    ),
    Signature(
        id="nccl.ranks-mixed",
        meaning="ranks disagree about their numbers or the world size",
        patterns=(
            r"Bootstrap Root ?: mismatch in (?:info|rank count)",
            r"Bootstrap Root ?: rank \d+ .*already checked in",
        ),
        cause="two processes have the same rank, or one of an earlier run still uses the port",
        fix="end the processes of earlier runs on all nodes, and check the node ranks",
        check="host.orphans",
    ),
    Signature(
        id="nccl.shm",
        meaning="/dev/shm is too small for NCCL",
        patterns=(
            r"failed to extend /dev/shm/nccl-",
            r"Error while (?:creating|attaching to) shared memory segment /dev/shm/nccl-",
            r"/dev/shm/nccl-\S{1,40} .{0,200}No space left on device",
            r"NCCL WARN (?>.*?posix_fallocate failed).*No space left on device",
        ),
        cause="NCCL needs shared memory, of which a container has 64 MiB by default",
        fix="containers: --shm-size=16g or --ipc=host; hosts: mount -o remount,size=16g /dev/shm",
        check="shm",
    ),
    Signature(
        id="nccl.peer-gone",
        meaning="NCCL lost a peer",
        patterns=(
            r"Connection closed by remote peer",
            r"ncclRemoteError",
            r"NCCL WARN .*(?:Connection reset by peer|Broken pipe|Software caused connection abort)",
            r"NCCL communicator was aborted on rank",
            r"remote process exited or there was a network error",
            r"Socket recv failed while polling for opId",
            # Requests that are flushed on a connection that has already failed.
            r"Got completion .*(?:with error|status=)\s*5\b",
            r"IBV_WC_WR_FLUSH_ERR",
        ),
        cause="another rank has ended, or the network between the two failed",
        fix="look at the rank that failed first",
        kind=Kind.CASCADE,
        after="a rank that died",
    ),
    Signature(
        id="nccl.watchdog",
        meaning="a collective did not complete in time",
        patterns=(
            (
                r"(?:\[Rank (?P<member>\d{1,7})\] )?(?:Watchdog c|C)aught collective operation timeout: "
                r"\w+\((?:SeqNum=(?P<number>\d{1,20}), )?OpType=(?P<operation>\w{1,64})"
            ),
        ),
        cause="a rank did not reach {operation} number {number}: it hangs, has died, or took another path",
        fix="compare operation and number between ranks; suspect the one that is behind or silent",
        kind=Kind.SYMPTOM,
        after="a rank that died or hangs",
    ),
    Signature(
        id="nccl.taken-down",
        meaning="torch ended the process because a collective had failed",
        patterns=(
            r"taking the entire process down",
            r"detected by watchdog at work",
            r"watchdog thread terminated with exception",
            r"watchdog got stuck for \d+",
            r"Some NCCL operations have failed or timed out",
            r"Received a dump signal due to a collective timeout",
        ),
        cause="the collective before it timed out or lost its peer",
        fix="look at the rank that failed first",
        kind=Kind.CASCADE,
        after="a collective that failed",
    ),
    Signature(
        id="nccl.system-error",
        meaning="a system call of NCCL failed",
        patterns=(r"ncclSystemError", r"unhandled system error"),
        cause="usually a peer or an interface that cannot be reached; NCCL's own warning says which",
        fix="look for `NCCL WARN` in its output; if there is none, run again with NCCL_DEBUG=WARN",
        kind=Kind.SYMPTOM,
        check="net.tcp",
    ),
    Signature(
        id="nccl.cuda-error",
        meaning="a CUDA call of NCCL failed",
        patterns=(r"ncclUnhandledCudaError", r"unhandled cuda error"),
        cause="the GPU, its driver or its memory; NCCL's own warning says which",
        fix="look for `NCCL WARN` in its output; if there is none, run again with NCCL_DEBUG=WARN",
        kind=Kind.SYMPTOM,
        check="coll.nccl",
    ),
    Signature(
        id="nccl.error",
        meaning="NCCL failed",
        patterns=(r"\bNCCL error in: (?!.*remote process exited)", r"\bNCCL Error \d+: "),
        cause="its `Last error:` or its own warning says why",
        fix="look for `Last error` and `NCCL WARN` in its output, or run again with NCCL_DEBUG=WARN",
        kind=Kind.SYMPTOM,
        check="coll.nccl",
    ),
)
