"""torchrun, Lightning, and scripts that do not go with them."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="torchrun.child-failed",
        meaning="a launcher tells that a rank failed",
        patterns=(
            r"\bChildFailedError\b",
            r"\bProcessExitedException: process \d+ terminated with ",  # torch.multiprocessing
            r"\bChild process with PID \d+ terminated with code ",  # Lightning
            # accelerate
            r"\bCalledProcessError: Command '\['\S{0,400}python[\d.]*', .*(?:returned non-zero|died with)",
        ),
        cause="a rank of this node ended with an error; its own output says why",
        fix="look at that rank's own output",
        kind=Kind.CASCADE,
        after="a rank that failed",
    ),
    Signature(
        id="torchrun.signalled",
        meaning="torchrun was told to end",
        patterns=(
            r"SignalException: Process \d+ got signal: (?P<signal>\d{1,2})",
            r"Received (?:Signals\.)?(?P<signal>\w{1,16}) death signal",
        ),
        cause="somebody, the scheduler, or the end of a login sent it signal {signal}",
        fix="look for the rank or node that failed before; else for who ended the run",
        kind=Kind.SYMPTOM,
        after="a stop of the run",
    ),
    Signature(
        id="launcher.no-script",
        meaning="the script is not on this node",
        patterns=(r"can't open file '(?P<path>[^'\n]{1,400})': \[Errno 2\]",),
        cause="there is no {path} here: its folder was not copied, or the working folder is another",
        fix="launch without --no-sync, or give the path that the script has on the nodes",
        check="sw.code",
    ),
    Signature(
        id="launcher.local-rank-option",
        meaning="the script knows no --local-rank",
        patterns=(r"error: unrecognized arguments:.* --local[-_]rank\b",),
        cause="torch.distributed.launch passes --local-rank, torchrun does not",
        fix="start it with torchrun and read os.environ['LOCAL_RANK']",
        check="sw.script",
    ),
    Signature(
        id="launcher.rank-arguments",
        meaning="the script wants its rank as an argument",
        patterns=(
            r"error: the following arguments are required:.* --(?:local[-_]|node[-_]|machine[-_])?rank\b",
        ),
        cause="every rank gets the same arguments; its own rank stands in its environment",
        fix="have the script read RANK, LOCAL_RANK and WORLD_SIZE from os.environ",
    ),
    Signature(
        id="launcher.arguments",
        meaning="the script does not take these arguments",
        patterns=(
            r"^\S{1,400}: error: (?:unrecognized arguments|argument \S+|the following arguments)",
            r"^Error: (?:No such option|Invalid value|Missing (?:option|argument))",
        ),
        cause="an option is misspelt, misses its value, or belongs to the launcher",
        fix="run the script with --help; put its own arguments behind its name",
    ),
    Signature(
        id="launcher.no-command",
        meaning="the command is not on this node",
        patterns=(
            r"sh: (?:line )?\d+: (?P<path>[^:\n]{1,400}): not found",
            r"sh: (?:line \d+: )?(?P<path>[^:\n]{1,400}): command not found",
            r"sh: (?:line \d+: )?(?P<path>[^:\n]{1,400}): No such file or directory",
            r"failed to run command ['\u2018](?P<path>[^'\u2019\n]{1,400})['\u2019]",
            r"\bexecve\(\): (?P<path>[^:\n]{1,400}): No such file or directory",  # srun
        ),
        cause="{path} does not exist here; a non-interactive login activates no environment",
        fix="give `python` in the inventory as the absolute path of the environment's interpreter",
        check="sw.launcher",
    ),
    Signature(
        id="lightning.launched-twice",
        meaning="the script launches itself under `fabric run`",
        patterns=(r"This script was launched through the CLI.*launch\(\)` again is not allowed",),
        cause="`fabric run` has already started the ranks when the script calls fabric.launch()",
        fix="use --launcher torchrun, or take fabric.launch() out of the script",
        check="sw.script",
    ),
    Signature(
        id="lightning.no-click",
        meaning="`fabric run` cannot start",
        patterns=(
            r"cannot import name '_main' from 'lightning\S*\.fabric\.cli'",
            r"To use the (?:Lightning )?Fabric CLI, you must have `?click`? installed",
        ),
        cause="click is missing on this node; `pip install lightning` does not bring it",
        fix="install click for the job's Python: `orch preflight --only sw.launcher` gives the line",
        check="sw.launcher",
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
        fix="take them from the launcher: devices='auto', and num_nodes from the number of nodes; under "
        "Slurm: --ntasks-per-node equal to devices",
        check="sw.script",
    ),
    Signature(
        id="lightning.no-accelerator",
        meaning="the accelerator that the script asks for is not there",
        patterns=(
            r"Accelerator`? can not run on your system",
            r"No supported gpu backend found",
            r"You requested gpu: .* But your machine only has",
        ),
        cause="this node has fewer GPUs than the script wants, or torch does not see them",
        fix="use accelerator='auto', or repair the driver or the torch build on this node",
        check="gpu",
    ),
    Signature(
        id="spawn.no-guard",
        meaning="a module starts processes when it is imported",
        patterns=(r"attempt has been made to start a new process before the",),
        cause="spawned processes import the script anew, and it spawns again",
        fix="put the start under `if __name__ == '__main__':`",
    ),
)
