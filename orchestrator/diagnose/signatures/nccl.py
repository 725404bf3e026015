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
                r"(?:Bootstrap|NET(?:/\w{1,16})?) ?: Using (?:interface )?(?:\[\d+\])?"
                r"(?P<interface>(?:docker|br-|veth|virbr|cni|flannel|cali|tailscale|zt)[\w.-]{0,15}|lo):"
            ),
        ),
        cause="NCCL chose {interface}, which other nodes cannot reach",
        fix="set NCCL_SOCKET_IFNAME to the interface of the training network, such as eth0, or to "
        "^lo,docker",
        kind=Kind.SYMPTOM,
        check="nic.pick",
    ),
    Signature(
        id="nccl.versions",
        meaning="nodes have different versions of NCCL",
        patterns=(
            r"Mismatched NCCL version detected",
            r"NCCL WARN .*[Mm]essage truncated ?: (?:received|expected) ",
        ),
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
        asks=("limits",),
    ),
    Signature(
        id="nccl.efa",
        meaning="the libfabric plugin of NCCL finds no adapter of AWS (EFA)",
        patterns=(
            r"NET/OFI Could not find any optimal provider",
            r"NET/OFI Only EFA provider is supported",
            (
                r"NET/OFI (?>.{0,200}?(?:[Nn]o (?:suitable )?provider|Failed to initialize (?:any|"
                r"sendrecv|rdma)))"
            ),
            (
                r"NET/OFI (?>.{0,200}?(?:Unable|[Ff]ailed) to (?:find|open|access)).{0,60}(?:provider|"
                r"domain|fabric|EFA)"
            ),
            r"\bfi_getinfo: .*No data available",
        ),
        cause="the instance has no EFA, its driver is missing, or the container does not have "
        "/dev/infiniband; NCCL falls back to slow sockets",
        fix="`fi_info -p efa` must list a provider on the node and in the container; install the EFA "
        "driver, or start the container with --device /dev/infiniband; without EFA, remove the plugin "
        "(NCCL_NET=Socket)",
        kind=Kind.SYMPTOM,
        check="ib.port",
    ),
    Signature(
        id="nccl.efa-group",
        meaning="EFA packets do not arrive",
        patterns=(
            r"NET/OFI .{0,400}(?:Unresponsive receiver|unreachable|Unreachable remote)",
            r"NET/OFI (?>.{0,200}?Request) .{0,400}completed with error",
            r"libfabric:(?>.{0,200}?message: )(?:Unresponsive|Unreachable|Invalid address)",
        ),
        cause="the security group does not allow all traffic of the group to itself, in and out, or the "
        "peer died",
        fix="allow all traffic from the security group to itself, inbound and outbound; then look at the "
        "rank that failed first",
        kind=Kind.SYMPTOM,
        check="net.tcp",
    ),
    Signature(
        id="nccl.libfabric",
        meaning="the libfabric plugin of NCCL runs with another libfabric than it was built for",
        patterns=(
            r"NET/OFI Couldn't set FI_OPT_\w{1,80}",
            r"NET/OFI (?>.{0,200}?Protocol not available)",
            r"libnccl-net\S{0,20}: undefined symbol: (?:fi_|ofi_)",
        ),
        cause="the container has an older libfabric, or one without EFA, before that of the EFA installer",
        fix="install the same EFA installer in the image as on the host, put /opt/amazon/efa/lib first in "
        "LD_LIBRARY_PATH, and build aws-ofi-nccl for it; `fi_info --version` shows which one is used",
        kind=Kind.SYMPTOM,
        check="sw.versions",
    ),
    Signature(
        id="nccl.ofi",
        is_general=True,
        meaning="the libfabric plugin of NCCL warns: {warning}",
        patterns=(
            (
                r"NCCL WARN NET/OFI (?P<warning>(?!.{0,200}(?:[Ff]alling back|will be ignored|"
                r"deprecated))[^\n]{1,200})"
            ),
        ),
        cause="its own words: {warning}",
        fix="compare `fi_info -p efa` on the host and in the container, and the versions of the EFA "
        "installer, of aws-ofi-nccl and of NCCL on all nodes; FI_LOG_LEVEL=warn shows what libfabric says",
        kind=Kind.SYMPTOM,
        check="ib.port",
    ),
    Signature(
        id="nccl.gdr",
        meaning="GPU memory cannot be registered with the adapter",
        patterns=(
            (
                r"ibv_reg_(?:dmabuf_)?mr\w{0,20} failed with error (?:\d{1,3} )?(?:Bad address|Invalid "
                r"argument|Operation not supported)"
            ),
        ),
        cause="most likely the module nvidia-peermem (or DMA-BUF of kernel and driver) that GPUDirect RDMA "
        "needs is missing on this node, or does not match the driver",
        fix="`sudo modprobe nvidia-peermem` on the host; for ibv_reg_dmabuf_mr: NCCL_DMABUF_ENABLE=0; "
        "NCCL_NET_GDR_LEVEL=LOC does without, and shows whether it is that",
        check="ib.gdr",
        is_survivable=True,
    ),
    Signature(
        id="nccl.ib-no-verbs",
        meaning="NCCL has no InfiniBand here",
        patterns=(
            r"NCCL (?:WARN|INFO) Failed to open libibverbs\.so",
            r"NET/IB ?: No device found",
        ),
        cause="there is no adapter, or libibverbs or /dev/infiniband is missing in the container: NCCL "
        "uses sockets",
        fix="if the node has adapters: install rdma-core (libibverbs1, ibverbs-providers), and start the "
        "container with --device /dev/infiniband",
        kind=Kind.NOISE,
        check="ib.port",
    ),
    Signature(
        id="nccl.ib-event",
        meaning="an InfiniBand adapter reports: {event}",
        patterns=(
            (
                r"NET/IB ?: (?:\S{1,64} )?Got async (?:fatal )?event ?: "
                r"(?P<event>(?!port active|GID|LID|SM change|client|P_Key)[^\n]{1,80})"
            ),
        ),
        cause="the port went down, its cable or switch is failing, or the adapter had an error",
        fix="check the port (`ibstat`, `ibdiagnet`) and `dmesg` on this node",
        check="ib.port",
        is_survivable=True,
    ),
    Signature(
        id="nccl.ib-dead-port",
        meaning="an InfiniBand connection cannot reach its peer",
        patterns=(
            (
                r"ibv_modify_qp failed with (?:error|\d+) (?:Connection timed out|No route to "
                r"host)(?!.*\bretrying\b)"
            ),
            r"NET/IB ?: .{0,200}[Pp]ort \d+ (?:is )?not active",
        ),
        cause="the peer's adapter or its network is not connected to this one: another rail, VLAN or "
        "subnet manager",
        fix="on a network of rails set NCCL_CROSS_NIC=0, else name adapters that reach each other in "
        "NCCL_IB_HCA; NCCL_IB_DISABLE=1 shows whether it is InfiniBand",
        check="ib.port",
    ),
    Signature(
        id="nccl.gid",
        meaning="an InfiniBand connection cannot be set up",
        patterns=(r"ibv_modify_qp failed with (?:error|\d+) (?!.*\bretrying\b)",),
        cause="the GID entry in use does not exist here, or has no route to the peer's (RoCE v2 has its "
        "own), or the ports differ",
        fix="set NCCL_IB_GID_INDEX to the RoCE v2 entry (`show_gids`), or unset it with NCCL 2.21 or "
        "later; in a container, the entry must be that of its own interface",
        check="ib.gid",
    ),
    Signature(
        id="nccl.ib-timeout",
        meaning="InfiniBand packets are lost",
        patterns=(
            r"Got completion .*(?:with error|status=)\s*12\b",
            r"Got completion .*(?:with error|status=)\s*(?:9|13)\b",  # access, receiver not ready
            r"Got completion .*IBV_WC_RETRY_EXC",
            r"\bRETRY_EXC(?:_ERR)?\b",
        ),
        cause="a port is down, a route between two adapters is missing, or the peer has died",
        fix="at the start of a run on RoCE: set NCCL_IB_GID_INDEX to the RoCE v2 entry (`show_gids`); "
        "later: check ports (`ibstat`) and cables, and on a congested fabric raise NCCL_IB_TIMEOUT",
        check="ib.port",
    ),
    Signature(
        id="nccl.ib-error",
        is_general=True,
        meaning="an InfiniBand adapter reports a failed transfer",
        patterns=(
            r"Got completion .*(?:with error|status=)\s*(?:1|2|3|6|7|8|10|11)\b",
            r"\bmlx5: .{1,253}: got completion with error",
        ),
        cause="the peer has ended, memory was not registered as the peer expects, or the adapter or its "
        "firmware is faulty",
        fix="look at the rank that failed first; if none did, compare firmware and drivers (`ibv_devinfo`, "
        "`ofed_info -s`), and run ib_write_bw between these nodes",
        kind=Kind.SYMPTOM,
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
        id="nccl.peer-access",
        meaning="two GPUs cannot access each other's memory",
        patterns=(
            r"peer access is not supported between these two devices",
            (
                r"Cuda failure (?:\d+ )?'(?:peer access|mapping of buffer object failed|invalid device "
                r"context)"
            ),
        ),
        cause="PCI access control (ACS), an IOMMU or the virtual machine separates them, or a driver bug",
        fix="set NCCL_P2P_DISABLE=1; to keep it fast, turn ACS off on the PCI bridges and boot with "
        "iommu=pt",
        check="gpu",
    ),
    Signature(
        id="nccl.library",
        meaning="NCCL was built for another CUDA",
        patterns=(
            (
                r"Cuda failure (?:\d+ )?'(?:named symbol not found|device kernel image is invalid|"
                r"invalid device function)'"
            ),
            r"NCCL WARN Cuda failure .*no kernel image is available",
        ),
        cause="the NCCL that is loaded has no code for this GPU or this driver",
        fix="unset LD_LIBRARY_PATH and LD_PRELOAD, reinstall torch with its own nvidia-nccl package",
        check="sw.versions",
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
        id="nccl.algorithm",
        meaning="NCCL has no algorithm for this call",
        patterns=(r"no algorithm/protocol available",),
        cause="NCCL_ALGO or NCCL_PROTO names what these GPUs, this network or this operation do not "
        "support",
        fix="unset NCCL_ALGO and NCCL_PROTO",
        check="sw.env",
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
            r"\bInvalid rank requested ?: ",
        ),
        cause="two processes have the same rank, a rank is beyond the world size, or a process of an "
        "earlier run still uses the port",
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
        asks=("places",),
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
                r"(?:, NumelIn=(?P<size>\d{1,20}))?"
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
        id="nccl.heartbeat",
        meaning="torch's watchdog of NCCL was stuck itself",
        patterns=(
            r"due to ProcessGroupNCCL watchdog hang",
            r"Heartbeat monitor timed out",
            r"detected no heartbeat of its watchdog",
        ),
        cause="a call of CUDA or NCCL did not return, as when a GPU or a peer is gone, or another thread "
        "held Python's lock (GIL) all the time",
        fix="look at the rank that failed first, and at `dmesg` for Xids; for long calls raise "
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC",
        kind=Kind.SYMPTOM,
        after="a rank that died or hangs",
        check="gpu.xid",
    ),
    Signature(
        id="nccl.cuda-failure",
        meaning="a CUDA call of NCCL failed: {reason}",
        patterns=(r"Cuda failure (?:\d+ )?'(?P<reason>[^'\n]{1,200})'",),
        cause="the GPU or its driver reports: {reason}",
        fix="run nvidia-smi and `dmesg | grep -i xid` on that node; if it is one node only, exclude it",
        kind=Kind.SYMPTOM,
        check="coll.nccl",
        asks=("xids",),
    ),
    Signature(
        id="nccl.call-failed",
        is_general=True,
        meaning="a system call of NCCL failed: {call}",
        patterns=(
            (
                r"NCCL WARN Call to (?P<call>(?!connect\b)\w{1,40}) failed ?: "
                r"(?!Success)(?P<reason>[^\n]{1,200})"
            ),
            r"NCCL WARN Error: (?P<call>\w{1,40}) failed(?P<reason>[^\n]{0,200})",
        ),
        cause="the kernel reports: {reason}",
        fix="compare this node with one that works: limits (`ulimit -a`), /dev/shm, devices of the "
        "container",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="nccl.bootstrap",
        meaning="ranks of one communicator do not find each other",
        patterns=(
            r"NCCL WARN .*[Tt]imeout waiting for (?:a )?connection",
            r"NCCL WARN .*(?:bootstrap|Bootstrap).{0,80}(?:timeout|timed out|failed)",
            r"Accepting a connection from .* (?:wrong|bad) magic",
            r"invalid magic",
            r"NCCL WARN (?>.*?wrong magic)",
        ),
        cause="a rank is missing, a process of an earlier run answers, or a firewall closes ephemeral "
        "ports",
        fix="end processes of earlier runs on all nodes; open all TCP ports between them",
        kind=Kind.SYMPTOM,
        check="net.tcp",
    ),
    Signature(
        id="nccl.invalid-usage",
        meaning="NCCL was called in an invalid way",
        patterns=(r"\bncclInvalidUsage\b", r"\bncclInvalidArgument\b"),
        cause="usually two ranks on one GPU, or tensors that are not on the GPU of the rank",
        fix="call torch.cuda.set_device(LOCAL_RANK) before the first collective; look for `NCCL WARN` "
        "above",
        kind=Kind.SYMPTOM,
        check="host.unique",
    ),
    Signature(
        id="nccl.warns",
        is_general=True,
        meaning="NCCL warns: {warning}",
        patterns=(
            (
                r"NCCL WARN (?P<warning>(?!NET/OFI|Failed to open libibverbs|NCCL_\w+ set by|"
                r".*(?:[Rr]etrying|NET/Plugin|unsupported|not supported, (?:using|falling)))[^\n]{1,200})"
            ),
        ),
        cause="its own words: {warning}",
        fix="look at the lines of this rank around it; NCCL_DEBUG=INFO shows what it tried before",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="nccl.system-error",
        is_general=True,
        meaning="a system call of NCCL failed",
        patterns=(r"ncclSystemError", r"unhandled system error"),
        cause="usually a peer or an interface that cannot be reached; NCCL's own warning says which",
        fix="look for `NCCL WARN` in its output; if there is none, run again with NCCL_DEBUG=WARN",
        kind=Kind.SYMPTOM,
        check="net.tcp",
    ),
    Signature(
        id="nccl.cuda-error",
        is_general=True,
        meaning="a CUDA call of NCCL failed",
        patterns=(r"ncclUnhandledCudaError", r"unhandled cuda error"),
        cause="the GPU, its driver or its memory; NCCL's own warning says which",
        fix="look for `NCCL WARN` in its output; if there is none, run again with NCCL_DEBUG=WARN",
        kind=Kind.SYMPTOM,
        check="coll.nccl",
        asks=("xids",),
    ),
    Signature(
        id="nccl.error",
        is_general=True,
        meaning="NCCL failed",
        patterns=(r"\bNCCL error in: (?!.*remote process exited)", r"\bNCCL Error \d+: "),
        cause="its `Last error:` or its own warning says why",
        fix="look for `Last error` and `NCCL WARN` in its output, or run again with NCCL_DEBUG=WARN",
        kind=Kind.SYMPTOM,
        check="coll.nccl",
    ),
)
