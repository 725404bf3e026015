"""Options of torchrun: those that the user may give, and those that the plan sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.plan.launchers import direct, torchrun
from orchestrator.plan.launchers.registry import find
from orchestrator.plan.launchers.torchrun_options import check_arguments, restarts_of


@pytest.mark.parametrize(
    ("argument", "option"),
    [
        ("--nnodes=3", "--nnodes"),
        ("--nnode=3", "--nnodes"),
        ("--nproc=2", "--nproc-per-node"),
        ("--node_rank", "--node-rank"),
        ("--mod", "--module"),
        ("--stand", "--standalone"),
        ("-m", "-m"),
        ("--no-python", "--no-python"),
    ],
)
@pytest.mark.parametrize("launcher", ["torchrun", "fabric"])
def test_option_of_the_plan_is_refused_also_abbreviated(
    launcher: str, argument: str, option: str
) -> None:
    with pytest.raises(UsageError, match=f"--launcher-arg {argument}: orch sets {option} itself"):
        check_arguments(launcher, [argument])


@pytest.mark.parametrize(
    "arguments", [["--"], ["train.py"], ["--tee=3", "train.py"], ["-r", "3", "x"]]
)
def test_argument_that_is_not_an_option_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="not an option, so torchrun would take it for the script"):
        check_arguments("torchrun", arguments)


def test_option_of_the_launcher_is_accepted() -> None:
    check_arguments("torchrun", ["--max-restarts=2", "--max-restarts", "2", "-r", "3", "--role=x"])
    check_arguments(
        "torchrun", ["--log-dir=/x", "--local-ranks-filter=0", "--run-path", "--tee", "3"]
    )
    check_arguments("fabric", ["--precision=bf16-mixed", "--strategy", "ddp"])


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("PET_STANDALONE", "takes the variable PET_STANDALONE for its --standalone"),
        ("PET_RDZV_ENDPOINT", "for its --rdzv-endpoint, which orch sets itself"),
        ("PET_NO_PYTHON", "for its --no-python"),
        ("PET_RUN_PATH", "for its --run-path"),
    ],
)
def test_variable_that_is_an_option_of_the_plan_is_refused(variable: str, message: str) -> None:
    for launcher in ("torchrun", "fabric"):
        with pytest.raises(UsageError, match=message):
            find(launcher).check_variables({variable: "1"})
    direct.LAUNCHER.check_variables({variable: "1"})


@pytest.mark.parametrize(
    "variable",
    ["PET_MAX_RESTARTS", "PET_MONITOR_INTERVAL", "PET_SHUTDOWN_TIMEOUT", "PET_VIRTUAL_LOCAL_RANK"],
)
def test_variable_that_torchrun_cannot_read_is_refused(variable: str) -> None:
    with pytest.raises(UsageError, match=f"{variable} .* not a number"):
        torchrun.LAUNCHER.check_variables({variable: "many"})
    torchrun.LAUNCHER.check_variables(
        {variable: "3", "PET_LOG_DIR": "/x", "PET_NAME": "Rex", "A": "many"}
    )


@pytest.mark.parametrize(
    ("argv", "variables", "expected"),
    [
        (["run", "--", "t.py", "--max-restarts=3"], {}, "0"),
        (["run", "--max-restarts=2", "--", "t.py"], {}, "2"),
        (["run", "--max_restarts", "2", "--", "t.py"], {}, "2"),
        (["run", "--max-r=2", "--", "t.py"], {}, "2"),
        (["run", "--max-restarts=2", "--max-restarts=0", "--", "t.py"], {}, "0"),
        (["run", "--", "t.py"], {"PET_MAX_RESTARTS": "4"}, "4"),
        (["run", "--max-restarts=0", "--", "t.py"], {"PET_MAX_RESTARTS": "4"}, "0"),
    ],
)
def test_restarts_of_equals_what_torchrun_reads(
    argv: list[str], variables: dict[str, str], expected: str
) -> None:
    assert restarts_of(argv, variables) == expected


@given(
    st.lists(st.sampled_from(["--max-restarts", "--max_restarts=3", "--max-r", "3", "--role=x"]))
)
def test_trial_arguments_restart_no_rank(words: list[str]) -> None:
    assert restarts_of(torchrun.LAUNCHER.trial_arguments(words), {}) == "0"
    left = torchrun.LAUNCHER.trial_arguments(["--tee", "3", "--max-restarts", "2", "-r", "3"])
    assert left == (
        "--tee",
        "3",
        "-r",
        "3",
    )
