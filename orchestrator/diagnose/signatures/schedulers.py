"""What refuses to start ranks, or ends them: Slurm, Kubernetes, mpirun, pdsh and ssh between nodes."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="slurm.memory-refused",
        meaning="Slurm has no memory for this step",
        patterns=(
            r"srun: error: .*Memory required by task is not available",
            r"(?:sbatch|salloc|srun): error: .*[Mm]emory specification can not be satisfied",
        ),
        cause="the step asks for more memory than its job has left on a node: the job's share is too "
        "small, or other steps hold it",
        fix="request memory for the job (sbatch --mem=0 takes all of each node) and pass srun --mem=0 or "
        "--overlap",
    ),
    Signature(
        id="slurm.step-busy",
        meaning="Slurm does not start the step: other steps hold its nodes",
        patterns=(
            (
                r"srun: error: Unable to create step for job \d+: (?:Requested nodes are busy|Job/step "
                r"already)"
            ),
        ),
        cause="a step that runs already has the processors, GPUs or memory of the job",
        fix="pass --overlap to srun, or give each step its part (--exact, --mem, --gpus)",
    ),
    Signature(
        id="slurm.container",
        meaning="the container could not be started: {why}",
        patterns=(
            r"\bpyxis: {1,8}\[ERROR\] (?P<why>(?!/etc/enroot/hooks)[^\n]{1,200})",
            r"\bpyxis: {1,8}nvidia-container-cli: (?P<why>(?!requirement error)[^\n]{1,200})",
            r"\bpyxis: error: (?P<why>[^\n]{1,200})",
            r"\bpyxis: (?P<why>couldn't start container)",
            r"\bnvidia-container-cli: (?P<why>(?:initialization|device|mount|ldcache) error: [^\n]{1,200})",
        ),
        cause="the container's runtime on that node says: {why}",
        fix="start it on that node alone (srun -w NODE --container-image=... true); compare pyxis, enroot, "
        "libnvidia-container and the driver with a node that works; check the name or path of the image",
        check="gpu",
    ),
    Signature(
        id="container.apptainer",
        meaning="Apptainer could not start the container: {why}",
        patterns=(r"^FATAL: {3,12}(?P<why>[^\n]{1,200})",),
        cause="Apptainer (Singularity) says: {why}",
        fix="run the same `apptainer exec` on that node by hand; check that the image, and the folders "
        "that it binds, are on that node and readable",
    ),
    Signature(
        id="slurm.no-pyxis",
        meaning="Slurm knows no containers here: pyxis is missing",
        patterns=(r"\bunrecognized option '--container-\w",),
        cause="the plugin pyxis, which adds --container-image and the like, is not set up for the machine "
        "where srun or sbatch runs",
        fix="submit from a machine that has it (`srun --help | grep container`), or add it to "
        "plugstack.conf",
    ),
    Signature(
        id="container.no-gpus",
        meaning="docker cannot give GPUs to a container",
        patterns=(r"could not select device driver .{0,40}capabilities: \[\[gpu",),
        cause="the NVIDIA container toolkit is not installed on this node, or docker is not configured for "
        "it",
        fix="install nvidia-container-toolkit; sudo nvidia-ctk runtime configure --runtime=docker; restart "
        "docker",
        check="gpu",
    ),
    Signature(
        id="slurm.mpi",
        meaning="srun has no plugin for this MPI",
        patterns=(
            r"Couldn't find the specified plugin name for mpi/\w{1,20}",
            r"[Cc]annot create (?:mpi )?context for mpi/\w{1,20}",
            r"OMPI was not built with SLURM's PMI support",
            r"srun: error: Invalid MPI type '\w{1,20}'",
        ),
        cause="Slurm, or Open MPI, was built without the PMI version that --mpi (or MpiDefault) names",
        fix="`srun --mpi=list` shows what there is; scripts of torch need none: srun --mpi=none",
    ),
    Signature(
        id="slurm.credential",
        meaning="a node does not accept the credential of the step",
        patterns=(
            r"\berror: .{0,200}: Job credential (?:expired|revoked)",
            r"\berror: .{0,200}Invalid job credential",
            r"error: .{0,200}\bProtocol authentication error",
            r"\bMunge (?:encode|decode) failed: ",
        ),
        cause="the clocks of the nodes differ by minutes, or their munge keys differ",
        fix="compare `date` on the nodes and start chrony; `munge -n | ssh NODE unmunge` must succeed",
        check="clock",
    ),
    Signature(
        id="slurm.node-unreachable",
        meaning="Slurm cannot start the step on a node",
        patterns=(
            r"srun: error: slurm_receive_msgs?: .{0,200}failed: ",
            (
                r"srun: error: Task launch for \S{1,40} failed on node \S{1,253}: (?:Socket timed out|"
                r"Communication connection failure|Zero Bytes|Unable to contact|No such process)"
            ),
            r"srun: error: Application launch failed: (?:Socket timed out|Communication connection)",
        ),
        cause="slurmd on that node does not answer, or cannot connect back to srun",
        fix="check slurmd and munge there (`scontrol show node NODE`), and that a firewall opens "
        "SlurmdPort and SrunPortRange between the nodes",
        check="net.tcp",
    ),
    Signature(
        id="slurm.no-node",
        meaning="Slurm has no such node available",
        patterns=(r"\b(?:srun|salloc|sbatch): Required node not available \(",),
        cause="the nodes that were asked for are down, drained or reserved",
        fix="`sinfo -R` shows why; choose others, or let the administrator resume them",
        is_survivable=True,
        undone_by=r"\bhas been allocated resources",
    ),
    Signature(
        id="slurm.output",
        meaning="Slurm cannot write the output of a task: {path}",
        patterns=(
            r"slurmstepd: error: Could not open std(?:out|err|in) file (?P<path>[^:\n]{1,400}): ",
            r"error: Unable to open (?:output|error) file (?P<path>[^:\n]{1,400}): ",
        ),
        cause="its folder does not exist on that node, or the user may not write there",
        fix="make the folder before sbatch (Slurm makes none), on storage that all nodes share",
        check="shared",
    ),
    Signature(
        id="slurm.invalid",
        meaning="Slurm refuses the request: {why}",
        patterns=(
            r"(?:srun|sbatch|salloc): error: Unable to allocate resources: (?P<why>[^\n]{1,200})",
            (
                r"(?:sbatch|salloc): error: (?:Batch job submission|Job submit/allocate) failed: "
                r"(?P<why>.{1,200})"
            ),
            (
                r"srun: error: Unable to create step for job \d+: (?P<why>(?!Job/step|Requested "
                r"nodes)[^\n]{1,200})"
            ),
            r"srun: error: Task launch for \S{1,40} failed on node \S{1,253}: (?P<why>[^\n]{1,200})",
        ),
        cause="the options of the job or step do not fit the partition, the account, or what the job has",
        fix="compare them with `scontrol show job`, `scontrol show partition` and `sacctmgr show assoc`",
    ),
    Signature(
        id="slurm.cancelled",
        meaning="Slurm cancelled the job or step",
        patterns=(
            r"slurmstepd: error: \*\*\* (?:JOB|STEP) \S{1,40} ON \S{1,253} CANCELLED AT \S+ \*\*\*",
        ),
        cause="scancel, or srun after one of its tasks had failed (--kill-on-bad-exit)",
        fix="look for the task that failed before; `sacct -j JOB` shows the states",
        kind=Kind.CASCADE,
        after="a rank that failed, or scancel",
    ),
    Signature(
        id="slurm.controller",
        meaning="Slurm's controller does not answer",
        patterns=(
            r"error: (?:Unable to contact slurm controller|slurm_\w+: Unable to contact slurm controller)",
            (
                r"(?:srun|sbatch|salloc|squeue|scontrol): error: "
                r"(?!slurm_receive_msg|Task launch|Application launch).*Socket timed out on send/recv"
            ),
        ),
        cause="slurmctld is down or overloaded, or this machine cannot reach it",
        fix="try again; `scontrol ping` shows whether it answers",
    ),
    Signature(
        id="ssh.host-key",
        meaning="ssh between nodes does not know the key of a host",
        patterns=(
            r"^Host key verification failed\.",
            (
                r"\bNo (?:\w+ )?host key is known for (?P<host>\S{1,253}) and you have requested "
                r"strict checking"
            ),
        ),
        cause="the launcher starts its processes by ssh, and this user's known_hosts lacks the other nodes",
        fix="add their keys (ssh-keyscan HOST >> ~/.ssh/known_hosts, and compare them), or start the ranks "
        "with the scheduler (srun) or without ssh between nodes",
        orch_fix="orch connects from your machine; nodes need no ssh to each other",
    ),
    Signature(
        id="ssh.key-changed",
        meaning="the key of a host has changed",
        patterns=(r"WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED",),
        cause="the machine was reinstalled, another one has its address, or someone intercepts the "
        "connection",
        fix="if the change is expected: ssh-keygen -R HOST, then connect again and compare the key",
    ),
    Signature(
        id="ssh.denied",
        meaning="ssh between nodes is refused",
        patterns=(
            (
                r"\bPermission denied \([a-z,-]{0,60}(?:publickey|password|keyboard-interactive|"
                r"gssapi-with-mic)"
            ),
            r"\bToo many authentication failures\b",
            r"\bBad owner or permissions on \S{1,300}/\.ssh/",
            r"UNPROTECTED PRIVATE KEY FILE",
        ),
        cause="the user has no usable key on the node where the launcher runs, or the other nodes do not "
        "accept it",
        fix="make a key without a passphrase there and add it to ~/.ssh/authorized_keys of all nodes; "
        "chmod 600 the key and ~/.ssh/config",
        orch_fix="orch connects from your machine; nodes need no ssh to each other",
    ),
    Signature(
        id="ssh.closed",
        meaning="an ssh session was closed",
        patterns=(
            r"\bclient_loop: send disconnect: ",
            r"\bpacket_write_wait: Connection to \S{1,253} port \d{1,5}: ",
            r"^Connection to \S{1,253} closed by remote host\.",
            r"^Timeout, server \S{1,253} not responding\.",
        ),
        cause="the connection, or the machine at its end, was lost; what ran in the session ended with it",
        fix="start the run in tmux, with setsid or as a batch job; set ServerAliveInterval 30 in "
        "~/.ssh/config",
        orch_fix="orch launch --detach: the run does not depend on a terminal",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="ssh.unreachable",
        meaning="ssh cannot reach a node",
        patterns=(
            r"^(?:pdsh@\S{1,253}: )?(?:\S{1,253}: )?ssh: connect to host (?P<host>\S{1,253}) port \d+: ",
            r"^(?:pdsh@\S{1,253}: )?(?:\S{1,253}: )?ssh: Could not resolve hostname (?P<host>\S{1,253}): ",
            r"\bkex_exchange_identification: (?:Connection closed|read: Connection reset)(?P<host>)",
            r"\bhost=(?P<host>\S{1,253}) was not reachable via ssh",
        ),
        cause="the node is down, its name is unknown here, its sshd is not running or refuses many logins "
        "at once, or it wants a password",
        fix="ssh to the node from where the launcher runs; check its name, port and MaxStartups",
    ),
    Signature(
        id="mpirun.daemon",
        meaning="mpirun could not start its daemons on other nodes",
        patterns=(
            r"ORTE was unable to reliably start one or more daemons",
            r"PRTE has lost communication with a remote daemon",
            r"PRTE was unable to reliably start one or more daemons",
            r"An ORTE daemon has unexpectedly failed after launch",
            r"ORTE has lost communication with a remote daemon",
        ),
        cause="ssh to the nodes fails, or Open MPI is not installed at the same path there",
        fix="try `ssh NODE orted --version`; pass --prefix, or let srun start the ranks",
        orch_fix="orch launch --launcher direct train.py, without mpirun",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="mpirun.tcp",
        meaning="processes of Open MPI cannot connect to each other",
        patterns=(
            r"\bwas unable to complete a TCP connection$",
            r"Open MPI failed to TCP connect to a peer MPI process",
        ),
        cause="a firewall, or Open MPI uses an interface that the other nodes cannot reach, such as "
        "docker0",
        fix="name the network: --mca btl_tcp_if_include 10.0.0.0/24 --mca oob_tcp_if_include 10.0.0.0/24; "
        "open all TCP ports between the nodes",
        orch_fix="orch launch --launcher direct train.py, without mpirun",
        check="net.tcp",
    ),
    Signature(
        id="mpirun.slots",
        meaning="mpirun has fewer slots than ranks",
        patterns=(
            r"There are not enough slots available in the system to satisfy",
            r"All nodes which are allocated for this job are already filled",
        ),
        cause="the hostfile or the allocation has fewer slots than -np asks for",
        fix="add slots=N to the hosts, or use --oversubscribe on purpose",
    ),
    Signature(
        id="mpirun.no-executable",
        meaning="mpirun finds no such program on a node",
        patterns=(
            r"(?:mpirun|prterun|mpiexec) was unable to find the specified executable file",
            r"(?:mpirun|prterun|mpiexec) was unable to launch the specified application as it could not",
        ),
        cause="the command, such as python, is at another path there, or not installed",
        fix="give its absolute path, or pass the PATH on: mpirun -x PATH",
        check="sw.launcher",
    ),
    Signature(
        id="mpirun.root",
        meaning="mpirun refuses to run as root",
        patterns=(r"mpirun has detected an attempt to run as root",),
        cause="Open MPI does not run as root without an option",
        fix="run as another user; in a container, pass --allow-run-as-root",
    ),
    Signature(
        id="pdsh.module",
        meaning="pdsh cannot reach the nodes as it is set up",
        patterns=(
            r"pdsh@\S{1,253}: \S{1,253}: rcmd: socket: Permission denied",
            r"pdsh: command not found",
        ),
        cause="pdsh uses rsh in place of ssh, or is not installed",
        fix="install pdsh and set PDSH_RCMD_TYPE=ssh",
        orch_fix="orch needs no pdsh",
    ),
    Signature(
        id="kubernetes.evicted",
        meaning="Kubernetes ended the pod: {why}",
        patterns=(
            r"\breason: (?P<why>Evicted|Preempted|DeadlineExceeded|NodeLost)\b",
            r"^\s{0,40}Reason: {1,40}(?P<why>Evicted|Preempted|DeadlineExceeded|NodeLost)\b",
            r"\bThe node was low on resource: (?P<why>[\w-]{1,60})",
        ),
        cause="the pod used more than its limit, its node ran out of memory or disk, or other work has "
        "priority",
        fix="raise resources.limits of the pod (memory, ephemeral-storage), or use less",
    ),
    Signature(
        id="kubernetes.unschedulable",
        meaning="Kubernetes finds no node for the pod",
        patterns=(r"\b0/\d+ nodes are available: (?P<why>[^\n]{1,300})",),
        cause="{why}",
        fix="ask for fewer GPUs or less memory, or free nodes: kubectl describe node",
        is_survivable=True,
        undone_by=r"\bSuccessfully assigned ",
    ),
    Signature(
        id="kubernetes.image",
        meaning="the container image cannot be pulled",
        patterns=(
            r"\bErrImagePull\b",
            r"\bImagePullBackOff\b",
            r"\bpyxis: .{0,200}failed to import docker image",
            r"Failed to pull image \"(?P<image>[^\"\n]{1,300})\"",
            r"Error response from daemon: (?:pull access denied|manifest for \S{1,300} not found)",
        ),
        cause="its name or tag is wrong, or this node may not read the registry",
        fix="pull it by hand on the node; check the name and the pull secret",
        undone_by=r"\b(?:Successfully pulled image|Started container) ",
    ),
)
