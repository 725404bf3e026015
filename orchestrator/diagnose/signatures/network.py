"""Connections that fail: refused, lost, without a route, a name or a free port."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

# NCCL 2.19 to 2.23 print the number of the error: `returned 111(Connection refused) errno 115`.
_CONNECT = r"(?i:\bconnect\b.{0,400}?(?:returned|failed:?|failed :|:)) (?:\d{1,3}\()?"

# Not a program that only reports, or retries, as the same line shows.
_NO_RETRY = r"(?!wandb: )(?!.*thrown while requesting)(?!.*[Rr]etrying).*"

SIGNATURES = (
    Signature(
        id="net.link-local",
        meaning="a peer's address is valid on its own host only (fe80::)",
        patterns=(
            (
                r"\b[Cc]onnect to fe80:.{0,200}(?:Network is unreachable|No route to host|Invalid "
                r"argument|annot assign)"
            ),
        ),
        cause="NCCL took an IPv6 address of that kind, often that of a virtual interface (veth, docker, "
        "cni)",
        fix="set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to the interface of the training network, such "
        "as eth0, and NCCL_SOCKET_FAMILY=AF_INET",
        check="nic.pick",
    ),
    Signature(
        id="net.refused",
        meaning="a peer refused the connection",
        patterns=(
            rf"{_CONNECT}Connection refused(?!, retrying)",
            r"\bconnect\w* .*Connection refused \(errno",
            r"^ConnectionRefusedError\b",
        ),
        cause="the process that should listen there has ended, or a firewall rejects the port",
        fix="look at the rank that failed first; if none did, open the ports between the nodes",
        kind=Kind.CASCADE,
        after="a rank that died",
        check="net.tcp",
    ),
    Signature(
        id="net.timed-out",
        meaning="no answer from a peer",
        patterns=(rf"{_CONNECT}Connection timed out(?!, retrying)",),
        cause="a firewall or security group drops the packets, or the address is of another network",
        fix="open all TCP ports between the nodes: NCCL and gloo listen on ephemeral ones",
        check="net.tcp",
    ),
    Signature(
        id="net.no-route",
        meaning="no route to a peer",
        patterns=(r"No route to host",),
        cause="a firewall rejects packets (as firewalld does), the host is down, or it is in another VLAN",
        fix="open the ports in the firewall, and check that the nodes can ping each other",
        check="net.tcp",
    ),
    Signature(
        id="net.unreachable",
        meaning="a peer's network is unreachable",
        patterns=(
            r"(?i:\bconnect).*Network is unreachable",
            r"\bConnect to .*annot assign requested address",  # NCCL, by IPv6
            r"\[Errno 101\] Network is unreachable",
        ),
        cause="this node has no route to the address of the peer, or of a download server",
        fix="give all nodes an address in one subnet, and name that interface; copy data to nodes without "
        "internet first",
        check="net.tcp",
    ),
    Signature(
        id="net.no-internet",
        meaning="a download failed",
        patterns=(
            rf"^{_NO_RETRY}Max retries exceeded with url",
            r"We couldn't connect to 'https?://",
            r"\bURLError: <urlopen error (?!.*\bname\b)",
        ),
        cause="this node cannot reach the server: it has no internet access, or needs a proxy",
        fix="copy models and data to all nodes first and set HF_HUB_OFFLINE=1; or set HTTPS_PROXY (orch: "
        "launch with --env)",
        check="shared",
        is_survivable=True,
    ),
    Signature(
        id="net.wandb",
        meaning="wandb did not start",
        patterns=(
            r"\bCommError: Run initialization has timed out",
            r"\bUsageError: api_key not configured",
            r"\bAuthenticationError: The API key you provided",
        ),
        cause="this node cannot reach wandb's server in time, or has no valid key for it",
        fix="give all ranks WANDB_API_KEY; or WANDB_MODE=offline and `wandb sync` later; or set "
        "HTTPS_PROXY; or let rank 0 alone call wandb.init()",
        orch_fix="orch launch -e WANDB_MODE=offline",
    ),
    Signature(
        id="net.rate-limited",
        meaning="a server refused more downloads",
        patterns=(r"\b429 Client Error: Too Many Requests",),
        cause="all ranks asked the server at once, or too often",
        fix="download on rank 0 before a barrier, or once to shared storage with HF_HUB_OFFLINE=1",
        check="shared",
        is_survivable=True,
    ),
    Signature(
        id="net.unauthorized",
        meaning="a server refuses this download",
        patterns=(
            r"\bGatedRepoError\b",
            r"\b40[13] Client Error",
            r"Cannot access gated repo for url",
            r"\bRepositoryNotFoundError\b",
        ),
        cause="the account or token of this node may not read it, or there is no such repository",
        fix="accept its terms with the account, and give all ranks the token (HF_TOKEN, or `hf auth login` "
        "on each node)",
        orch_fix="orch launch -e HF_TOKEN",
        is_survivable=True,
    ),
    Signature(
        id="net.not-cached",
        meaning="a file is not in the download cache of this node",
        patterns=(
            r"Cannot find the requested files in the (?:disk cache|cached path)",
            r"\bOfflineModeIsEnabled\b",
        ),
        cause="downloads are switched off (HF_HUB_OFFLINE), or failed, and the cache of this node lacks it",
        fix="fill the cache (HF_HOME) of every node first, or keep it on shared storage",
        check="shared",
        is_survivable=True,
    ),
    Signature(
        id="net.name-unknown",
        meaning="a host name cannot be resolved",
        patterns=(
            r"network addresses of \(\S+, \d+\) cannot be retrieved \(gai error",
            r"\bgaierror: \[Errno",
            r"\bdial tcp: lookup \S{1,253}(?: on \S{1,60})?: no such host",
            rf"^{_NO_RETRY}Name does not resolve",
            rf"^{_NO_RETRY}Name or service not known",
            rf"^{_NO_RETRY}Temporary failure in name resolution",
        ),
        cause="this node cannot resolve the name of the main node, a peer, or a download server",
        fix="use an IP address, or add the name to /etc/hosts on all nodes; Kubernetes: a pod's name is "
        "known once it is ready: wait, or set publishNotReadyAddresses on its service; copy data ahead for "
        "nodes offline",
        check="net.dns",
    ),
    Signature(
        id="net.reverse-name",
        meaning="an address has no name",
        patterns=(r"hostname of the client socket cannot be retrieved\. err=",),
        cause="reverse DNS has no entry for a peer; torch only wanted to print its name",
        fix="nothing",
        kind=Kind.NOISE,
    ),
    Signature(
        id="net.port-in-use",
        meaning="the port is in use",
        patterns=(
            r"\bEADDRINUSE\b",
            r"errno: 98\b",
            r"ddress already in use",
            r"on port `?\d{1,5}`?, but another process is utilizing it",  # accelerate
        ),
        cause="an earlier run, or another program, still listens on the port on this node",
        fix="end what `ss -ltnp` shows on it, or use another (torchrun --master-port, orch --main-port)",
        check="net.bind",
        asks=("ports",),
    ),
    Signature(
        id="net.address-not-here",
        meaning="the address to listen on is not this host's",
        # A client that tries `localhost` by IPv6 first falls back to IPv4.
        patterns=(
            r"\bEADDRNOTAVAIL\b",
            r"^(?!.*(?:client socket has failed to connect|Connect to )).*annot assign requested address",
        ),
        cause="the main address belongs to another machine, or node ranks are mixed up",
        fix="use the address of the node with node rank 0 as the main address",
        check="net.bind",
    ),
    Signature(
        id="net.no-host",
        meaning="the main node cannot be reached",
        patterns=(
            (
                # Before torch 2.2: `connect to 10.0.0.1:29500`.
                r"client socket has timed out after \S+ while trying to connect to "
                r"\(?(?P<host>[^,()\s]{1,255}?)(?:, |:)(?P<port>\d{1,5})(?=[).\s]|$)"
            ),
        ),
        cause="{host} did not answer on port {port}: rank 0 is not up, or a firewall drops packets",
        fix="check that rank 0 runs on {host} and that port {port} is open from this node; a port that is "
        "not the main port is the store of a c10d rendezvous: prefer the static one",
        check="net.tcp",
    ),
)
