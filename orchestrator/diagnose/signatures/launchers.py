"""torchrun, Accelerate, Lightning, and scripts that do not fit them."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="torchrun.child-failed",
        meaning="a launcher reports that a rank failed",
        patterns=(
            r"\bChildFailedError\b",
            r"\bProcessExitedException: process \d+ terminated with ",  # torch.multiprocessing
            r"\bChild process with PID \d+ terminated with code ",  # Lightning
            # accelerate
            r"\bCalledProcessError: Command '\['\S{0,400}python[\d.]*', .*(?:returned non-zero|died with)",
        ),
        cause="a rank of this node ended with an error; its own output says why",
        fix="read that rank's own output",
        kind=Kind.CASCADE,
        after="a rank that failed",
    ),
    Signature(
        id="torchrun.hangup",
        meaning="torchrun got SIGHUP: its terminal or login session was closed",
        patterns=(
            r"SignalException: Process \d+ got signal: 1$",
            r"Received (?:1|(?:Signals\.)?SIGHUP) death signal",
            r"Sending process \d+ closing signal (?:Signals\.)?SIGHUP",
        ),
        cause="the terminal or SSH session in which it was started has ended; nohup does not help, as "
        "torchrun handles SIGHUP itself",
        fix="start it in tmux or screen, or with setsid",
        orch_fix="orch launch --detach: the run does not depend on a terminal",
    ),
    Signature(
        id="torchrun.signalled",
        meaning="torchrun was stopped by a signal",
        patterns=(
            r"SignalException: Process \d+ got signal: (?P<signal>\d{1,2})",
            r"Received (?:Signals\.)?(?P<signal>\w{1,16}) death signal",
        ),
        cause="a person, the scheduler, or the end of a login session sent it signal {signal}",
        fix="look for a rank or node that failed before; else for who stopped the run",
        kind=Kind.SYMPTOM,
        after="a stop of the run",
    ),
    Signature(
        id="launcher.no-script",
        meaning="the script is not on this node",
        patterns=(r"can't open file '(?P<path>[^'\n]{1,400})': \[Errno 2\]",),
        cause="{path} does not exist here: its folder was not copied, or the working folder differs",
        fix="copy it to all nodes (orch: launch without --no-sync), or give the path that it has there",
        check="sw.code",
    ),
    Signature(
        id="launcher.no-folder",
        meaning="the working folder is not on this node",
        patterns=(
            r"sh: (?:line \d+: )?cd: (?P<path>[^:\n]{1,400}): No such file or directory",
            r"chdir\((?P<path>[^()\n]{1,400})\): No such file or directory",
            r"couldn't chdir to `(?P<path>[^'\n]{1,400})'",
        ),
        cause="{path} exists where the launcher was started, but not here: the code was not copied",
        fix="copy the code to the same path on all nodes, or use shared storage",
        orch_fix="orch launch copies the folder of the script to each node",
        check="sw.code",
        is_survivable=True,
    ),
    Signature(
        id="launcher.local-rank-option",
        meaning="the script does not accept --local-rank",
        patterns=(r"error: unrecognized arguments:.* --local[-_]rank\b",),
        cause="torch.distributed.launch and DeepSpeed pass --local_rank to the script, torchrun does not",
        fix="start it with torchrun and read LOCAL_RANK, or pass --no_local_rank to DeepSpeed's launcher",
        check="sw.script",
    ),
    Signature(
        id="launcher.rank-arguments",
        meaning="the script expects its rank as an argument",
        patterns=(
            r"error: the following arguments are required:.* --(?:local[-_]|node[-_]|machine[-_])?rank\b",
        ),
        cause="all ranks get the same arguments; their own rank is in the environment",
        fix="read RANK, LOCAL_RANK and WORLD_SIZE from os.environ in the script",
    ),
    Signature(
        id="launcher.arguments",
        meaning="the script does not accept these arguments",
        patterns=(
            r"^\S{1,400}: error: (?:unrecognized arguments|argument \S+|the following arguments)",
            r"^Error: (?:No such option|Invalid value|Missing (?:option|argument))",
        ),
        cause="an option is misspelled, lacks its value, or belongs to the launcher",
        fix="run the script with --help; put its own arguments after its name",
    ),
    Signature(
        id="launcher.no-command",
        meaning="the command is not on this node",
        patterns=(
            r"sh: (?:line )?\d+: (?P<path>[^:\n]{1,400}): not found",
            r"sh: (?:line \d+: )?(?P<path>[^:\n]{1,400}): command not found",
            r": line \d{1,7}: (?P<path>(?!module:|ml:|conda:)[^:\s]{1,100}): command not found",
            r"sh: (?:line \d+: )?(?!.*\bcd: )(?P<path>[^:\n]{1,400}): No such file or directory",
            r"failed to run command ['\u2018](?P<path>[^'\u2019\n]{1,400})['\u2019]",
            r"\bexecve\(\): (?P<path>[^:\n]{1,400}): No such file or directory",  # srun
        ),
        cause="{path} is not on this node; a non-interactive login activates no environment",
        fix="give the absolute path of the environment's command (orch: `python:` in the inventory)",
        check="sw.launcher",
    ),
    Signature(
        id="accelerate.unknown-key",
        meaning="Accelerate does not know a key of its configuration",
        patterns=(
            r"The config file at (?P<path>[^\n]{1,400}) had unknown keys \(\[(?P<keys>[^\]\n]{1,400})\]\)",
        ),
        cause="another release of Accelerate wrote {path}: this one does not know {keys}",
        fix="install the same accelerate on all nodes, or remove these keys from the file",
    ),
    Signature(
        id="accelerate.no-config",
        meaning="Accelerate's configuration is not on this node",
        patterns=(r"The passed configuration file `(?P<path>[^`\n]{1,400})` does not exist",),
        cause="{path} does not exist here: it was not copied, or the path starts in another folder",
        fix="keep it in the project, and name it from the folder in which the ranks start",
        check="sw.code",
    ),
    Signature(
        id="accelerate.option",
        meaning="`accelerate launch` does not accept its options",
        patterns=(
            r"^Accelerate launch command: error: (?P<why>[^\n]{1,400})",
            r"ValueError: (?P<why>Unknown (?:mixed_precision mode|dynamo backend): [^\n]{1,200})",
            r"ValueError: (?P<why>When using `--fsdp_[^\n]{1,200})",
            r"ValueError: (?P<why>You can only use one of `--[^\n]{1,200})",
        ),
        cause="{why}",
        fix="correct that option (orch: --launcher-arg) or the key of that name in the configuration",
    ),
    Signature(
        id="lightning.launched-twice",
        meaning="the script launches itself under `fabric run`",
        patterns=(r"This script was launched through the CLI.*launch\(\)` again is not allowed",),
        cause="`fabric run` has already started the ranks when the script calls fabric.launch()",
        fix="start it with torchrun (orch: --launcher torchrun), or remove fabric.launch() from the script",
        check="sw.script",
    ),
    Signature(
        id="lightning.no-click",
        meaning="`fabric run` cannot start",
        patterns=(
            r"cannot import name '_main' from 'lightning\S*\.fabric\.cli'",
            r"To use the (?:Lightning )?Fabric CLI, you must have `?click`? installed",
        ),
        cause="click is missing on this node; `pip install lightning` does not install it",
        fix="install click for the Python of the job: python -m pip install click",
        check="sw.launcher",
    ),
    Signature(
        id="job.layout",
        meaning="the number of ranks does not fit the parallel layout",
        patterns=(
            r"\bworld[ _]size:? ?\(?\d{1,7}\)? is not divisible by",
            r"must be divisible by tensor parallel size",
            r"World size \(\d{1,7}\) is larger than the number of available GPUs",
            r"The number of required GPUs exceeds the total number of available GPUs",
            r"Invalid parallel dims: .{1,200} != WORLD_SIZE",
            r"No slot '\d{1,5}' specified on host",
        ),
        cause="the sizes of tensor, pipeline, context and data parallelism must multiply to the number of "
        "ranks, and there must be a GPU for each",
        fix="change these sizes, or the number of nodes and of ranks on each (--nproc-per-node)",
    ),
    Signature(
        id="deepspeed.mismatch",
        meaning="DeepSpeed's configuration contradicts the arguments of the Trainer",
        patterns=(r"Please correct the following DeepSpeed config values that mismatch",),
        cause="both set the same value; the lines after it name them",
        fix='write "auto" for these values in the DeepSpeed configuration',
    ),
    Signature(
        id="deepspeed.world-one",
        meaning="DeepSpeed's configuration was made for one rank",
        patterns=(
            (
                r"train_batch_size is not equal to micro_batch_per_gpu \* gradient_acc_step \* "
                r"world_size \d+ != \d+ \* \d+ \* 1$"
            ),
        ),
        cause="the world size was still 1 when the configuration was read: the process group did not exist "
        "yet, or the script was not started by a launcher",
        fix="call deepspeed.init_distributed() (or torch.distributed.init_process_group) before the "
        "configuration is made, and start the script with a launcher",
    ),
    Signature(
        id="deepspeed.batch",
        meaning="the batch sizes of DeepSpeed's configuration do not agree",
        patterns=(
            (
                r"train_batch_size is not equal to micro_batch_per_gpu \* gradient_acc_step \* "
                r"world_size (?P<sizes>\d+ != [\d *]+\d)"
            ),
            r"train_batch_size (?P<sizes>\d+) .{0,40}not divisible by",
        ),
        cause="{sizes}: the number of ranks is not the one that the configuration was written for",
        fix='use "auto" for two of the three sizes, or the number of ranks that the configuration expects',
    ),
    Signature(
        id="wrapper.see-cause",
        meaning="a process of the program failed",
        patterns=(
            (
                r"[Ss]ee (?:the )?(?:stack trace|traceback|root cause|error|exception|logs?) (?:above "
                r")?for (?:the )?root cause"
            ),
            r"[Ss]ee root cause above",
            r"failed due to an exception in a background process",
            r"\bEngineDeadError\b",
            r"\bRayTaskError\b",
            r"\bActorDiedError\b",
            r"The actor (?:is dead|died) (?:because|unexpectedly)",
            r"\bBrokenProcessPool\b",
        ),
        cause="another process of it raised an error; its own traceback says why",
        fix="look at the error of that process: it is above, or in the log of its node",
        kind=Kind.CASCADE,
        after="an error in another process",
    ),
    Signature(
        id="job.half-missing",
        meaning="ranks are missing: {joined} of {expected} joined",
        patterns=(
            (
                r"Waiting in store based barrier.*\(world_size=(?P<expected>\d{1,9}), "
                r"(?:worker_count|num_workers_joined)=(?P<joined>\d{1,9}), timeout"
            ),
        ),
        cause="the others were not started, do not reach the main node, or have the same rank numbers "
        "twice",
        fix="start the same number of ranks on all nodes, each node with its own --node-rank",
        kind=Kind.SYMPTOM,
        check="net.tcp",
    ),
    Signature(
        id="lightning.world-size",
        meaning="Lightning expects another number of ranks",
        patterns=(
            r"You set `devices=.*does not match the world size",
            r"You set `(?:devices|num_nodes)=(?>.*?configured in SLURM ).*does not match",
            r"You set `--ntasks=\d+` in your SLURM bash script, but this variable is not supported",
        ),
        cause="devices or num_nodes in the script are not what the launcher starts",
        fix="set devices='auto' and num_nodes to the number of nodes; Slurm: --ntasks-per-node to devices",
        check="sw.script",
    ),
    Signature(
        id="lightning.no-accelerator",
        meaning="the requested accelerator is missing",
        patterns=(
            r"Accelerator`? can not run on your system",
            r"No supported gpu backend found",
            r"You requested gpu: .* But your machine only has",
        ),
        cause="this node has fewer GPUs than the script requests, or torch does not detect them",
        fix="use accelerator='auto', or repair the driver or the torch build on this node",
        check="gpu",
    ),
    Signature(
        id="spawn.no-guard",
        meaning="a module starts processes when it is imported",
        patterns=(r"attempt has been made to start a new process before the",),
        cause="spawned processes import the script again, which starts processes again",
        fix="move the start of processes under `if __name__ == '__main__':`",
    ),
)
