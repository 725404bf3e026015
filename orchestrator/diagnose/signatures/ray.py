"""Ray: its own processes, and those of tasks and actors."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="ray.process-died",
        meaning="a process of Ray died on this node",
        patterns=(
            r" (?P<process>raylet|gcs_server|dashboard|(?:log_)?monitor) \[exit code=(?P<code>-?\d{1,3})\b",
        ),
        cause="{process} ended with exit code {code}: a signal if negative; -9 is often a lack of memory",
        fix="read the last lines of its log, printed below that; check the kernel log for its OOM killer",
    ),
    Signature(
        id="ray.worker-died",
        meaning="the process of a task or actor of Ray died",
        patterns=(
            r"ray\.exceptions\.(?:WorkerCrashedError: |ActorDiedError: The actor died unexpectedly)",
            (
                r"Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
                r"connection error code \d"
            ),
        ),
        cause="it was killed, for lack of memory as a rule, or crashed",
        fix="look for its own output before that (lines with its pid), and the kernel log of its node",
    ),
    Signature(
        id="ray.node-died",
        meaning="Ray lost a node",
        patterns=(
            r"\bRaylet is terminated\. Termination is unexpected\.",
            r"has been marked dead because the detector has missed too many heartbeats",
            r"The actor(?:'s| died because its) node (?:has|was) (?:died|terminated)",
        ),
        cause="the raylet of another node ended, or could not be reached",
        fix="see that node's own output",
        kind=Kind.CASCADE,
        after="a raylet that died, or a node that was lost",
    ),
    Signature(
        id="ray.no-head",
        meaning="the head of Ray does not answer",
        patterns=(
            r"Failed to get cluster ID from GCS server: TimedOut",
            r"Unable to connect to GCS \(?ray head\)? at",
        ),
        cause="its GCS has not started, runs another version of Ray, or a firewall blocks the main port",
        fix="see the output of the main node; compare `python -m pip show ray` of all nodes",
        check="net.tcp",
    ),
    Signature(
        id="ray.group-exists",
        meaning="Ray's placement group exists already",
        patterns=(r"Placement group name \S{1,200} already exists",),
        cause="Ray ran the task again after its worker had died, or a job that ended left the group",
        fix="look for what failed before, in the log of that worker; if nothing did: `ray stop --force` on "
        "all nodes",
        kind=Kind.SYMPTOM,
        after="a worker that died",
    ),
    Signature(
        id="ray.versions",
        meaning="nodes have different versions of Ray or Python",
        patterns=(r"Version mismatch: The cluster was started with",),
        cause="Ray needs the same version of itself and of Python on all nodes",
        fix="install the same Ray and Python on all nodes",
        check="sw.versions",
    ),
    Signature(
        id="ray.no-resources",
        meaning="Ray has no node with these resources",
        patterns=(
            r"No available node types can fulfill resource request",
            r"The following resource request cannot be scheduled right now",
        ),
        cause="nodes have not joined the cluster, or no node has as many GPUs or CPUs as one task asks for",
        fix="compare `ray status` with the request (GPUs of one node, placement group), and look at nodes "
        "that are missing",
        kind=Kind.SYMPTOM,
        after="a node that did not join",
    ),
    Signature(
        id="ray.gpus",
        meaning="Ray was asked for more GPUs than it may see",
        patterns=(
            r"start raylet with (?P<count>\d{1,5}) GPU, but (?P<name>\w{1,30}) contains (?P<seen>.{1,99})",
        ),
        cause="{name} leaves {seen}, and `--num-gpus` is {count}",
        fix="unset {name}, or ask for fewer GPUs (orch: --nproc)",
        check="gpu",
    ),
    Signature(
        id="ray.no-external-address",
        meaning="Ray looked for its address by a route to the Internet",
        patterns=(r"Failed to determine local IP via external connectivity to: ",),
        cause="the node has no route to the Internet; Ray then asks the host's name",
        fix="nothing, if --node-ip-address is given, as orch does",
        kind=Kind.NOISE,
    ),
)
