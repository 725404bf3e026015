"""Verdicts on versions, modules, launchers, variables and code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Job
from orchestrator.plan.launchers import torchrun
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, NoAnswer, Probe, Script, Status
from orchestrator.preflight.software.agreement import CHECKS
from orchestrator.preflight.software.code import SOURCES
from orchestrator.preflight.software.interpreter import SOFTWARE, Interpreter
from orchestrator.preflight.software.known_variables import KNOWN, UNREAD
from orchestrator.preflight.software.locks import LOCKS
from orchestrator.preflight.software.starting import START
from orchestrator.preflight.software.variables import VARIABLES

from ..contexts import answered, brief, make_context

BY_ID = {check.id: check for check in CHECKS}
GPUS = {i: {"gpus": 8} for i in range(3)}


def software(**more: Any) -> dict[str, Any]:
    """What a node answers; `torch`, `cuda`, `hip` and the rest of the interpreter by their names."""
    torch = {name: more.pop(name, None) for name in ("version", "cuda", "hip")}
    kernel, driver = more.pop("kernel", "6.8.0-40-generic"), more.pop("driver", None)
    broken = more.pop("broken", None)
    interpreter = {
        "executable": "/opt/venv/bin/python",
        "python": "3.11.7",
        "torch": torch if torch["version"] else None,
        "distributions": {},
        "pip": True,
        "ensurepip": True,
        "managed": False,
        "elsewhere": [],
        "missing": [],
        **more,
    }
    return {
        "kernel": kernel,
        "driver": driver,
        "interpreter": None if broken else interpreter,
        "broken": broken,
    }


CU130 = {"version": "2.13.0+cu130", "cuda": "13.0"}
CPU = {"version": "2.13.0+cpu"}


def judged(check: str, probe: Probe[Any], *raw: Any, **more: Any) -> list[Finding]:
    """Return what a check finds on nodes that answered so; its data must be JSON."""
    return verdict(check, make_context(len(raw), answers=answered(probe, *raw), **more))


def verdict(check: str, of: Context) -> list[Finding]:
    found = judge_check(BY_ID[check], of)
    json.dumps([dict(finding.data) for finding in found])
    return found


def only(findings: list[Finding], status: Status) -> Finding:
    (finding,) = [finding for finding in findings if finding.status is status]
    return finding


def commands(finding: Finding) -> tuple[str, ...]:
    assert finding.remedy is not None
    return finding.remedy.commands


# -- sw.lock ---------------------------------------------------------------------------------------


def test_lock_of_a_killed_build_warns_with_the_command_that_removes_it() -> None:
    path = "/root/.cache/torch_extensions/py311 cpu/adam/lock"
    left = [{"path": path, "age": 90.0}]
    found = judged("sw.lock", LOCKS, left, [], [])
    assert brief(found) == [("warn", "node0"), ("pass", "node1,node2")]
    assert commands(found[0]) == (f"rm '{path}'",)
    assert found[0].message.startswith(f"{path}: left by a killed build")


# -- sw.versions -----------------------------------------------------------------------------------


def versions(*raw: Any, **more: Any) -> list[Finding]:
    return judged("sw.versions", SOFTWARE, *raw, **more)


def test_versions_equal_on_all_nodes_are_one_finding() -> None:
    (finding,) = versions(*[software(**CPU, distributions={"lightning": "2.6.6"})] * 3)
    assert finding.status is Status.PASS
    assert finding.message == "Python 3.11.7, torch 2.13.0+cpu (no GPU), lightning 2.6.6"


def test_versions_with_another_torch_fail_with_the_command_that_installs_the_common_one() -> None:
    odd = software(version="2.12.1+cpu", executable="/opt/my venv/bin/python")
    findings = versions(software(**CPU), software(**CPU), odd)
    assert brief(findings) == [("fail", "node2"), ("pass", "node0,node1")]
    assert findings[0].message == (
        "torch 2.12.1+cpu (no GPU), but node[0-1] have torch 2.13.0+cpu (no GPU)"
    )
    line = "'/opt/my venv/bin/python' -m pip install torch==2.13.0+cpu --index-url "
    assert commands(findings[0]) == (f"{line}https://download.pytorch.org/whl/cpu",)


def test_versions_without_a_majority_are_compared_with_main() -> None:
    findings = versions(software(version="2.13.0"), software(version="2.12.0"))
    assert brief(findings) == [("fail", "node1"), ("pass", "node0")]
    assert commands(findings[0]) == ("/opt/venv/bin/python -m pip install torch==2.13.0",)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"version": "2.13.0", "cuda": "12.8"}, "torch 2.13.0 (CUDA 12.8), but node[0-1] have"),
        ({"version": "2.13.0", "hip": "6.4"}, "torch 2.13.0 (ROCm 6.4), but"),
        ({"version": "2.13.0"}, "torch 2.13.0 (no GPU), but"),
        ({"version": "2.13.0", "cuda": "13.0", "python": "3.12.1"}, "Python 3.12, but node[0-1]"),
    ],
)
def test_versions_with_another_build_or_minor_python_fail(odd: dict[str, str], words: str) -> None:
    same = software(version="2.13.0", cuda="13.0")
    findings = versions(same, same, software(**odd))
    assert brief(findings)[0] == ("fail", "node2")
    assert findings[0].message.startswith(words)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"python": "3.11.9"}, "Python 3.11.9, but node[0-1] have 3.11.7"),
        ({"driver": "550.54.15"}, "NVIDIA's driver is 550.54.15, but node[0-1] have 570.86.15"),
        ({"distributions": {"lightning": "2.4.0"}}, "lightning 2.4.0, but node[0-1] have 2.6.6"),
    ],
)
def test_versions_of_patch_level_driver_or_lightning_only_warn(
    odd: dict[str, Any], words: str
) -> None:
    same = {**CU130, "driver": "570.86.15", "distributions": {"lightning": "2.6.6"}}
    findings = versions(software(**same), software(**same), software(**{**same, **odd}))
    assert brief(findings) == [("warn", "node2"), ("pass", "node0,node1")]
    assert findings[0].message.startswith(words)


def test_versions_compare_the_nccl_for_the_cuda_of_torch() -> None:
    def with_nccl(**distributions: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): each for name, each in distributions.items()}
        return software(**CU130, distributions=named)

    old = with_nccl(nvidia_nccl_cu13="2.26.2", nvidia_nccl_cu12="2.28.3")
    new = with_nccl(nvidia_nccl_cu13="2.28.3", nvidia_nccl_cu12="2.26.2")
    findings = versions(new, new, old)
    assert brief(findings) == [("fail", "node2"), ("pass", "node0,node1")]
    assert commands(findings[0]) == (
        "/opt/venv/bin/python -m pip install nvidia-nccl-cu13==2.28.3",
    )
    assert brief(versions(new, new, with_nccl())) == [("pass", "node0,node1"), ("pass", "node2")]


def test_versions_without_torch_fail_if_the_launcher_needs_it() -> None:
    findings = versions(software(**CPU), software(pip=False), software(**CPU))
    assert brief(findings)[0] == ("fail", "node1")
    assert findings[0].message == "torch is not installed, but node[0,2] have it"
    assert commands(findings[0])[0] == "/opt/venv/bin/python -m ensurepip"
    assert commands(findings[0])[1].startswith("/opt/venv/bin/python -m pip install torch==2.13.0")


def test_versions_without_torch_name_the_python_that_has_it_first() -> None:
    (finding,) = versions(software(elsewhere=["/home/ann/venv/bin/python"]))
    assert finding.remedy is not None
    assert finding.remedy.text == (
        "name the Python that has torch: `python: /home/ann/venv/bin/python` in the inventory"
    )
    assert commands(finding) == ()
    (finding,) = versions(software())
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("name the Python of the environment that has torch with")
    assert commands(finding) == ("/opt/venv/bin/python -m pip install torch",)


def test_install_for_a_managed_python_uses_an_environment_of_its_own() -> None:
    (finding,) = versions(software(managed=True, executable="/usr/bin/python3"))
    assert commands(finding) == (
        "/usr/bin/python3 -m venv --system-site-packages ~/torch-env",
        "~/torch-env/bin/python -m pip install torch",
    )
    assert finding.remedy is not None
    assert "`python: ~/torch-env/bin/python` in the inventory" in finding.remedy.text
    (finding,) = versions(software(managed=True, ensurepip=False))
    assert commands(finding)[0] == "sudo apt-get install -y python3.11-venv"


@pytest.mark.parametrize(
    ("text", "expected"), [(None, "warn"), ("import torch", "warn"), ("import os", "pass")]
)
def test_versions_without_torch_warn_if_only_the_script_may_need_it(
    text: str | None, expected: str
) -> None:
    script = None if text is None else Script(Path("train.py"), text, None)
    findings = versions(*[software()] * 2, launcher="direct", script=script)
    assert brief(findings) == [(expected, "node0,node1")]


def test_versions_with_a_cpu_build_of_torch_on_gpu_nodes_warn() -> None:
    findings = versions(*[software(**CPU)] * 3, facts_of=GPUS)
    assert brief(findings) == [("warn", "node0,node1,node2")]
    assert brief(versions(*[software(**CU130)] * 3, facts_of=GPUS))[0][0] == "pass"


PLAIN = Script(Path("hello.py"), "import os\nprint(os.environ['RANK'])", None)
USING = Script(Path("train.py"), "import os\ndef f():\n    import torch", None)


@pytest.mark.parametrize(
    ("script", "launcher", "status"),
    [
        (PLAIN, "direct", "warn"),
        (PLAIN, "python", "warn"),
        (PLAIN, "torchrun", "fail"),
        (USING, "direct", "fail"),
        (None, "direct", "fail"),
    ],
)
def test_versions_only_warn_if_the_job_needs_only_the_standard_library(
    script: Script | None, launcher: str, status: str
) -> None:
    old = software(**CPU, python="3.8.18")
    findings = versions(software(**CPU), software(**CPU), old, launcher=launcher, script=script)
    assert brief(findings) == [(status, "node2"), ("pass", "node0,node1")]


def test_versions_with_a_python_that_does_not_start_fail() -> None:
    broken = software(broken="ModuleNotFoundError: No module named 'encodings'")
    findings = versions(software(**CPU), broken)
    assert brief(findings) == [("fail", "node1"), ("pass", "node0")]
    assert "No module named 'encodings'" in findings[0].message


def test_versions_of_a_node_without_an_answer_are_incomplete() -> None:
    of = make_context(1, answers={"software": [NoAnswer("no answer within 20 s")]})
    assert brief(verdict("sw.versions", of)) == [("incomplete", "node0")]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {**software(), "interpreter": []},
        {**software(), "interpreter": {"python": "3"}},
        software(torch=3),
        software(distributions=[1]),
    ],
)
def test_parse_of_an_invalid_answer_raises(raw: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        SOFTWARE.parse(raw)


def test_install_quotes_hostile_words() -> None:
    found = SOFTWARE.parse(software(version="2.0;\n reboot", executable="/x/$(reboot)")).interpreter
    assert isinstance(found, Interpreter) and found.torch is not None
    _, commands = found.install("torch", found.torch.requirement)
    assert commands == ("'/x/$(reboot)' -m pip install 'torch==2.0;_reboot'",)


# -- sw.import -------------------------------------------------------------------------------------

SCRIPT = Script(Path("train.py"), "import torch\nimport cv2\nimport my_pkg\nimport tomllib\n", None)


def imports(*missing: list[str], script: Script | None = SCRIPT) -> list[Finding]:
    raw = [
        software(missing=names, executable=f"/opt/{i}/python") for i, names in enumerate(missing)
    ]
    return judged("sw.import", SOFTWARE, *raw, script=script)


def test_imports_without_a_script_are_skipped() -> None:
    assert brief(imports([], [], script=None)) == [("skip", "node0,node1")]


def test_imports_with_every_module_pass() -> None:
    (finding,) = imports([], [])
    assert finding.message == "has every module that train.py imports"


def test_imports_with_a_missing_module_name_line_and_distribution() -> None:
    findings = imports([], ["cv2", "my_pkg"], [])
    assert brief(findings) == [("fail", "node1"), ("pass", "node0,node2")]
    assert findings[0].message == (
        "has no module cv2 (train.py:2 imports it), my_pkg (train.py:3 imports it)"
    )
    assert commands(findings[0]) == ("/opt/1/python -m pip install opencv-python my-pkg",)


def test_imports_never_install_a_module_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "libs/my_pkg").mkdir(parents=True)
    (tmp_path / "libs/my_pkg/__init__.py").touch()
    script = Script(tmp_path / "train.py", "import cv2\nimport my_pkg\n", tmp_path)
    raw = software(missing=["cv2", "my_pkg"])
    (finding,) = judged("sw.import", SOFTWARE, raw, script=script)
    assert commands(finding) == ("/opt/venv/bin/python -m pip install opencv-python",)
    assert finding.remedy is not None
    assert finding.remedy.text == (
        "my_pkg is the project's own, in libs: launch with --env PYTHONPATH=libs; install opencv-python"
    )


def test_imports_missing_on_all_nodes_are_one_finding() -> None:
    raw = [software(missing=["cv2"])] * 3
    findings = judged("sw.import", SOFTWARE, *raw, script=SCRIPT)
    assert brief(findings) == [("fail", "node0,node1,node2")]


def test_imports_never_install_a_module_of_the_standard_library() -> None:
    findings = imports(["tomllib"])
    assert brief(findings) == [("fail", "node0")]
    assert commands(findings[0]) == ()
    assert findings[0].remedy is not None and "missing in Python 3.11.7" in findings[0].remedy.text


def test_imports_of_a_script_that_changes_its_path_only_warn() -> None:
    script = Script(Path("t.py"), "import sys\nsys.path.append('x')\nimport cv2", None)
    assert brief(imports(["cv2"], script=script)) == [("warn", "node0")]


def test_imports_ignore_modules_that_the_script_does_not_import() -> None:
    assert brief(imports(["evil"])) == [("pass", "node0")]


# -- sw.torch and sw.launcher ----------------------------------------------------------------------


def start(code: int | None = 0, error: str = "", **torch: Any) -> dict[str, Any]:
    known = {"version": "2.13.0", "nccl": None, "cuda": False, "why": None}
    return {
        "torch": {**known, **torch} if torch.pop("imported", True) else None,
        "code": code,
        "seconds": 50.0,
        "error": error,
    }


def started(check: str, *raw: Any, **more: Any) -> list[Finding]:
    answers = answered(START, *raw) | answered(SOFTWARE, *[software()] * len(raw))
    return verdict(check, make_context(len(raw), answers=answers, **more))


def test_torch_missing_is_skipped_if_the_job_does_not_need_it() -> None:
    absent = start(1, imported=False, error="ModuleNotFoundError: No module named 'torch'")
    assert brief(started("sw.torch", absent, launcher="direct", script=PLAIN)) == [
        ("skip", "node0")
    ]
    assert brief(started("sw.torch", absent, launcher="direct", script=USING)) == [
        ("warn", "node0")
    ]


NO_CLICK = (
    "To use the Lightning Fabric CLI, you must have `click` installed. Install it by running `pip"
)


def test_launcher_that_starts_passes_and_none_is_skipped() -> None:
    (finding,) = started("sw.launcher", start(), start())
    assert (finding.status, finding.message) == (Status.PASS, "torch.distributed.run starts")
    assert brief(started("sw.launcher", start(), launcher="direct")) == [("skip", "node0")]


def test_launcher_without_click_has_the_command_that_installs_it() -> None:
    findings = started("sw.launcher", start(), start(1, NO_CLICK), start(), launcher="fabric")
    assert brief(findings) == [("fail", "node1"), ("pass", "node0,node2")]
    assert "click is not installed" in findings[0].message
    assert commands(findings[0]) == ("/opt/venv/bin/python -m pip install click",)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ModuleNotFoundError: No module named 'lightning'", "-m pip install lightning"),
        ("ImportError: No module named lightning.fabric.cli", "-m pip install lightning"),
        ("AttributeError: module 'x' has no attribute 'y'", "-m lightning.fabric.cli --help"),
    ],
)
def test_launcher_that_does_not_start_has_the_reason_in_its_message(error: str, line: str) -> None:
    (finding,) = started("sw.launcher", start(1, error), launcher="fabric")
    assert finding.message == f"lightning.fabric.cli cannot start: {error}"
    assert commands(finding)[0].endswith(line)


def test_launcher_that_needs_no_torch_is_incomplete_if_torch_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torchrun.LAUNCHER, "needs", ())
    absent = start(1, imported=False, error="ModuleNotFoundError: No module named 'torch'")
    assert brief(started("sw.launcher", absent)) == [("incomplete", "node0")]


def test_start_that_does_not_end_in_time_is_incomplete() -> None:
    late = start(None, imported=False)
    assert brief(started("sw.launcher", late)) == [("incomplete", "node0")]
    assert brief(started("sw.torch", late)) == [("incomplete", "node0")]


def test_torch_that_cannot_be_imported_fails_with_the_reason() -> None:
    error = (
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory"
    )
    findings = started("sw.torch", start(), start(1, error, imported=False))
    assert brief(findings) == [("fail", "node1"), ("pass", "node0")]
    assert findings[0].message == f"torch cannot be imported: {error}"
    assert (
        findings[0].remedy is not None and "libcudart.so.12 is missing" in findings[0].remedy.text
    )


def test_torch_missing_has_the_command_that_installs_it() -> None:
    error = "ModuleNotFoundError: No module named 'torch'"
    (finding,) = started("sw.torch", start(1, error, imported=False))
    assert commands(finding) == ("/opt/venv/bin/python -m pip install torch",)


def test_torch_that_can_use_no_gpu_fails_if_there_are_some() -> None:
    why = "The NVIDIA driver on your system is too old (found version 11040)."
    raw = [start(cuda=True), start(why=why)]
    findings = started("sw.torch", *raw, facts_of=GPUS)
    assert brief(findings) == [("fail", "node1"), ("pass", "node0")]
    assert why in findings[0].message
    assert brief(started("sw.torch", *raw)) == [("pass", "node0,node1")]


def test_torch_that_loads_another_nccl_fails() -> None:
    raw = [start(nccl="2.28.3", cuda=True)] * 2 + [start(nccl="2.18.1", cuda=True)]
    findings = started("sw.torch", *raw, facts_of=GPUS)
    assert brief(findings) == [("fail", "node2"), ("pass", "node0,node1")]
    assert findings[0].message == "torch loads NCCL 2.18.1, but most nodes load 2.28.3"


# -- sw.env ----------------------------------------------------------------------------------------


def env(*login: Mapping[str, str], **more: Any) -> list[Finding]:
    return judged("sw.env", VARIABLES, *login, **more)


def test_variables_not_set_pass() -> None:
    assert brief(env({}, {}, {})) == [("pass", "node0,node1,node2")]


def test_variable_that_differs_warns_with_both_values() -> None:
    findings = env({}, {}, {"NCCL_P2P_DISABLE": "1"})
    assert brief(findings) == [("warn", "node2"), ("pass", "node0,node1")]
    assert findings[0].message == "NCCL_P2P_DISABLE is '1', and on node[0-1] it is not set"


def test_variable_that_ranks_must_share_fails_if_nccl_is_used() -> None:
    login = [{"NCCL_IB_DISABLE": "1"}, {}, {}]
    assert brief(env(*login))[0] == ("warn", "node0")
    assert brief(env(*login, facts_of=GPUS))[0] == ("fail", "node0")


def test_variables_with_names_of_interfaces_may_differ() -> None:
    login = [{"NCCL_SOCKET_IFNAME": "eth0", "NCCL_IB_HCA": "mlx5_0"}, {"NCCL_SOCKET_IFNAME": "eth"}]
    assert brief(env(*login)) == [("pass", "node0,node1")]


def test_variables_of_the_inventory_override_those_of_the_login() -> None:
    login = [{"OMP_NUM_THREADS": "4", "PET_TEE": "3", "TORCHELASTIC_RUN_ID": "x"}, {}]
    hosts = {1: {"env": {"OMP_NUM_THREADS": "4"}}}
    assert brief(env(*login, host_of=hosts)) == [("pass", "node0,node1")]


def test_variable_with_a_password_in_a_url_is_masked() -> None:
    findings = env({"NCCL_CONF_FILE": "http://me:hush@x/nccl"}, {})
    assert brief(findings)[0][0] == "warn"
    assert "hush" not in str(findings) and "http://me:***@x/nccl" in str(findings)


def test_variable_that_is_a_secret_is_not_shown() -> None:
    job = Job("t.py", secrets=frozenset({"NCCL_DEBUG"}))
    findings = env({"NCCL_DEBUG": "hush", "FI_API_KEY": "hush"}, {}, job=job)
    assert brief(findings)[0][0] == "warn"
    assert "hush" not in str(findings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NCCL_TIMEOUT", "timeout= to init_process_group"),
        ("NCCL_SOCKET_PORT_RANGE", "ip_local_port_range"),
        ("NCCL_SOCKET_IF_NAME", "did you mean NCCL_SOCKET_IFNAME?"),
        ("GLOO_SOCKET_IFNAMES", "did you mean GLOO_SOCKET_IFNAME?"),
        ("TORCH_DISTRIBUTED_DEBUGS", "did you mean TORCH_DISTRIBUTED_DEBUG?"),
    ],
)
def test_variable_that_nothing_reads_warns_with_what_works_instead(name: str, words: str) -> None:
    finding = only(env({name: "1"}, {name: "1"}), Status.WARN)
    assert finding.nodes == ("node0", "node1")
    assert finding.remedy is not None and words in finding.remedy.text


@pytest.mark.parametrize(
    "name", ["NCCL_DEBUG", "NCCL_IB_TC", "TORCH_HOME", "NCCL_MY_PLUGINS_OWN_WORD", "UCX_TLS"]
)
def test_variable_that_is_or_may_be_read_passes(name: str) -> None:
    assert brief(env({name: "1"}))[0][0] == "pass"


def test_known_and_unread_variables_are_disjoint() -> None:
    assert not KNOWN & UNREAD.keys()
    assert len(KNOWN) > 250


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GLOO_SOCKET_IFNAME", "^docker0", "gloo takes whole names only"),
        ("GLOO_SOCKET_IFNAME", "=eth0", "gloo takes whole names only"),
        ("GLOO_SOCKET_IFNAME", "eth", "gloo takes whole names only"),
        ("GLOO_SOCKET_IFNAME", "ib7", "there is no such interface up"),
        ("GLOO_SOCKET_IFNAME", "198.18.0.10", "an address instead of the name"),
        ("NCCL_SOCKET_IFNAME", "=198.18.0.10", "an address instead of the name"),
    ],
)
def test_variable_that_is_not_a_name_of_an_interface_fails(
    name: str, value: str, words: str
) -> None:
    finding = only(env({name: value}), Status.FAIL)
    assert words in finding.message
    assert finding.remedy is not None and "eth0" in finding.remedy.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GLOO_SOCKET_IFNAME", "eth0"),
        ("GLOO_SOCKET_IFNAME", "lo,eth0"),
        ("NCCL_SOCKET_IFNAME", "^docker,lo"),
        ("NCCL_SOCKET_IFNAME", "=eth0"),
    ],
)
def test_variable_in_the_form_that_the_library_takes_passes(name: str, value: str) -> None:
    assert brief(env({name: value})) == [("pass", "node0")]


def test_variable_that_torchrun_takes_as_an_option_warns() -> None:
    job = Job("t.py", environment={"PET_TEE": "3"})
    finding = only(env({}, job=job), Status.WARN)
    assert finding.message == "PET_TEE is set: torchrun takes it as its --tee"


# -- sw.code ---------------------------------------------------------------------------------------


def code(*files: Mapping[str, str] | None) -> list[Finding]:
    raw = [None if each is None else {"files": each, "cut": False} for each in files]
    return judged("sw.code", SOURCES, *raw)


def test_code_before_the_first_launch_is_skipped() -> None:
    assert brief(code(None, None)) == [("skip", "node0,node1")]
    assert brief(code({"a.py": "1"}, None)) == [("pass", "node0"), ("skip", "node1")]


def test_code_equal_on_all_nodes_passes() -> None:
    (finding,) = code({"a.py": "1", "b.yaml": "2"}, {"a.py": "1", "b.yaml": "2"})
    assert finding.message == "2 source files, the same on every node"


def test_code_that_differs_fails_with_the_first_files() -> None:
    same = {f"{name}.py": "1" for name in "abcde"}
    findings = code(same, same, dict.fromkeys(same, "2"))
    assert brief(findings) == [("fail", "node2"), ("pass", "node0,node1")]
    assert findings[0].message == "a.py, b.py, c.py and 2 more differ from most nodes"
    assert findings[0].data["node2"]["differing"] == sorted(same)


def test_code_missing_on_one_node_warns_but_extra_code_does_not() -> None:
    findings = code({"a.py": "1", "b.py": "1"}, {"a.py": "1", "b.py": "1"}, {"a.py": "1"})
    assert brief(findings) == [("warn", "node2"), ("pass", "node0,node1")]
    assert findings[0].message == "b.py, which node[0-1] have, is missing"
    same = {"a.py": "1"}
    assert brief(code({**same, "left.py": "1"}, same, same))[0][0] == "pass"


def test_code_that_jobs_write_only_warns() -> None:
    same = {"a.py": "1", "result.json": "1"}
    findings = code(same, same, {**same, "result.json": "2"})
    assert brief(findings)[0] == ("warn", "node2")


# -- sw.kernel -------------------------------------------------------------------------------------


def test_kernel_below_5_5_warns_and_a_different_one_is_marked() -> None:
    releases = ["6.8.0-40-generic", "6.8.0-40-generic", "6.8.0-52-generic", "5.4.0-1103-aws"]
    findings = judged("sw.kernel", SOFTWARE, *[software(kernel=each) for each in releases])
    assert brief(findings) == [("warn", "node3"), ("pass", "node0,node1"), ("pass", "node2")]
    assert findings[2].message == "Linux 6.8.0-52-generic, different from most nodes"
