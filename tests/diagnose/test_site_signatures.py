"""Signatures of the site: what is read and what is left out; no file stops a diagnosis."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnose import SIGNATURES, Diagnosis, Kind, Signature, Source, diagnose, is_noise
from orchestrator.diagnose import site_signatures as module
from orchestrator.diagnose.read import Log, examine
from orchestrator.diagnose.record import as_json
from orchestrator.diagnose.site_signatures import (
    MAX_BYTES,
    MAX_PATTERNS,
    MAX_SIGNATURES,
    VARIABLE,
    read_signatures,
    site_signatures,
)

SWITCH = r"""
[[signature]]
id = "site.switch-down"
meaning = "the leaf switch of {rack} is down"
patterns = ['fabricd: lost uplink of (?P<rack>r\d{1,3})']
cause = "the switch of {rack} restarted, or its uplink is unplugged"
fix = "see the status page of the fabric, and exclude {rack} until it is back"
check = "net.tcp"
"""


def signature(**changed: str) -> str:
    """Return a table as TOML with some values changed; an empty value is left out."""
    values = {
        "id": "'site.a'",
        "meaning": "'it broke'",
        "patterns": "['it broke']",
        "cause": "'a cause'",
        "fix": "'a fix'",
        **changed,
    }
    return "[[signature]]\n" + "".join(f"{k} = {v}\n" for k, v in values.items() if v)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.toml"


def problems_of(file: Path, text: str | bytes) -> list[str]:
    """Return the problems of a file with this text, without the name of the file."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    found = read_signatures([file])
    assert all(str(file) in problem for problem in found.problems)
    return [problem.replace(str(file), "FILE") for problem in found.problems]


def ids_and_files(diagnosis: Diagnosis) -> list[tuple[str, str | None]]:
    """Return the ids and the files of the hits in the JSON of a diagnosis."""
    described = json.loads(json.dumps(as_json(diagnosis)))
    return [(hit["id"], hit["signature_file"]) for hit in described["hits"]]


def test_read_signatures_returns_the_signatures_of_a_file(file: Path) -> None:
    file.write_text(SWITCH + signature(kind="'cascade'", after="'a {rank}'", is_survivable="true"))
    found = read_signatures([file])
    assert found.problems == ()
    assert found.signatures[0].check == "net.tcp"
    assert found.signatures[1] == Signature(
        id="site.a",
        meaning="it broke",
        patterns=("it broke",),
        cause="a cause",
        fix="a fix",
        kind=Kind.CASCADE,
        after="a {rank}",
        is_survivable=True,
        file=str(file),
    )


def test_example_in_the_guide_is_read(file: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/failures.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(\[\[signature.*?)```", guide, re.DOTALL)
    assert example is not None
    assert problems_of(file, example[1]) == []
    assert [each.id for each in read_signatures([file]).signatures] == ["site.switch-down"]


def test_diagnose_fills_in_a_site_signature_and_names_its_file(file: Path) -> None:
    file.write_text(SWITCH)
    streams = [(Source("log", rank=3), [b"step 1\nfabricd: lost uplink of r17\n"])]
    diagnosis = diagnose(streams, extra=read_signatures([file]).signatures)
    verdict = diagnosis.verdict
    assert verdict is not None
    assert verdict.meaning == "the leaf switch of r17 is down"
    assert verdict.fix.endswith("exclude r17 until it is back")
    assert ids_and_files(diagnosis) == [("site.switch-down", str(file))]


def test_site_signature_takes_precedence_over_one_of_orch(file: Path) -> None:
    line = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.22 GiB.\n"
    streams = [(Source("log"), [line])]
    file.write_text(signature(patterns="['CUDA out of memory']"))
    own, of_site = diagnose(streams), diagnose(streams, extra=read_signatures([file]).signatures)
    assert ids_and_files(own) == [("cuda.memory", None)]
    assert ids_and_files(of_site) == [("site.a", str(file))]


def test_is_noise_includes_the_site(file: Path) -> None:
    file.write_text(
        signature(kind="'noise'", patterns=r"['quota of (?P<n>\w+) ok', 'quota is (?P<n>\w+)']")
    )
    extra = read_signatures([file]).signatures
    assert is_noise("quota of ann ok", extra) and is_noise("quota is fine", extra)
    assert not is_noise("quota of ann ok")


def test_read_signatures_refuses_ids_of_orch(file: Path) -> None:
    file.write_text("".join(signature(id=f"'{each.id}'") for each in SIGNATURES[:20]))
    found = read_signatures([file])
    assert found.signatures == () and len(found.problems) == 20
    assert "expected a name such as site.switch-down, in lower case" in found.problems[0]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"id": ""}, "signature number 1 of FILE is left out: it has no id"),
        ({"id": "3"}, "signature number 1 of FILE is left out: its id is '3'"),
        ({"pattern": "'x'"}, "unknown key 'pattern', did you mean 'patterns'?"),
        ({"zzz": "'x'"}, "unknown key 'zzz', valid are id, meaning, patterns, cause, fix, kind"),
        ({"file": "'/etc/passwd'"}, "unknown key 'file'"),
        ({"cause": "", "fix": ""}, "it has no cause, fix"),
        ({"kind": "'rot'"}, "its kind is 'rot', did you mean 'root'?"),
        ({"kind": "0"}, "its kind is '0', valid are root, symptom, cascade, hint, noise"),
        ({"kind": "'cascade'"}, "it has no after: a cascade names what it follows from"),
        ({"is_survivable": "'yes'"}, "is_survivable is true or false"),
        ({"check": "'; rm -rf'"}, "its check is '; rm -rf'; expected the name of a check"),
        ({"meaning": "''"}, "its meaning is not a text"),
        ({"fix": "7"}, "its fix is not a text"),
        ({"cause": '"a\\nb"'}, "its cause has more than one line, or characters"),
        ({"cause": '"a\\u001b[2J"'}, "its cause has more than one line, or characters"),
        ({"cause": f"'{'x' * 401}'"}, "its cause has 401 characters, the limit is 400"),
        ({"cause": "'{rack} fell'"}, "its cause has {rack}, which is not a named group"),
        ({"cause": "'{'"}, "its cause: Single '{' encountered in format string"),
        ({"cause": "'{}'"}, "its cause has {}, which is not a named group"),
        (
            {"patterns": "['it (?P<a>broke)']", "cause": "'{a:>999999999}'"},
            "its cause has {a}, which is not a named group",
        ),
        (
            {"patterns": "['it (?P<a>broke)']", "cause": "'{a.__class__}'"},
            "its cause has {a.__class__}, which is not a named group",
        ),
        (
            {"patterns": "['it (?P<a>broke)', 'broken']", "cause": "'{a}'"},
            "its cause has {a}, which is not a named group of every pattern",
        ),
        ({"patterns": "'it broke'"}, "its patterns are not a list of texts"),
        ({"patterns": "[]"}, "its patterns are not a list of texts"),
        ({"patterns": "['it broke', 3]"}, "its patterns are not a list of texts"),
        ({"patterns": f"{['it broke'] * (MAX_PATTERNS + 1)}"}, "it has 17 patterns"),
        ({"patterns": "['(broke']"}, "its pattern '(broke': it is not a regular expression: "),
        ({"patterns": "['(a+)+broke']"}, "its pattern '(a+)+broke': it may take very long"),
    ],
)
def test_read_signatures_leaves_only_the_faulty_signature_out(
    file: Path, changed: dict[str, str], why: str
) -> None:
    (problem,) = problems_of(file, signature(**changed) + SWITCH)
    assert problem.startswith(("signature 'site.a' of FILE", "signature number 1 of FILE"))
    assert why in problem
    assert [each.id for each in read_signatures([file]).signatures] == ["site.switch-down"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n[[signature]\n", "FILE is left out: it is not TOML: Expected ']]' at the end of an"),
        ("a = 1\nb = \n", "FILE is left out: it is not TOML: Invalid value (at line 2, column 5)"),
        (b"\n# caf\xe9\n", "FILE is left out: it is not UTF-8 (at line 2, column 6)"),
        ("a = " + "[" * 3000, "FILE is left out: it is not TOML: "),
        ("a = " + "1" * 5000, "FILE is left out: it is not TOML: "),
        ("#" * (MAX_BYTES + 1), "FILE is left out: it cannot be read: over 1,048,576 bytes"),
        ("[[signatures]]\n", "'signatures' in FILE is left out: each signature starts with"),
        ("signature = 3\n", "signature number 1 of FILE is left out: it is not a table"),
        ("signature = [3]\n", "signature number 1 of FILE is left out: it is not a table"),
    ],
)
def test_read_signatures_of_an_invalid_file_is_one_problem(
    file: Path, text: str | bytes, why: str
) -> None:
    (problem,) = problems_of(file, text)
    assert problem.startswith(why)


def test_read_signatures_keeps_the_first_of_two_with_one_id(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(signature())
    second.write_text(signature(cause="'another'"))
    found = read_signatures([first, second])
    assert [each.cause for each in found.signatures] == ["a cause"]
    assert found.problems == (
        f"signature 'site.a' of {second} is left out: {first} already has a signature with that id",
    )


def test_read_signatures_limits_signatures_and_problems(file: Path) -> None:
    many = "".join(signature(id=f"'site.n{n}'") for n in range(MAX_SIGNATURES + 30))
    problems = problems_of(file, many)
    assert len(read_signatures([file]).signatures) == MAX_SIGNATURES
    assert "the limit is 256 signatures" in problems[0]
    assert (len(problems), problems[-1]) == (21, "FILE has 10 more problems")


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: (SWITCH + text).encode()))
def test_read_signatures_accepts_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(data)
    read_signatures([file])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*module._PARSERS, "x"]), VALUES))
def test_read_signatures_of_any_values_is_a_signature_or_a_problem(
    table: dict[str, object],
) -> None:
    held = {"signature": [{"id": "site.a", "patterns": ["it broke"], **table}]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_read", lambda path: held)
        found = read_signatures([Path("any.toml")])
    assert len(found.signatures) + len(found.problems) == 1
    diagnose([(Source("log"), [b"it broke\n"])], extra=found.signatures)


def test_site_signatures_reads_the_files_of_the_variable_and_reports_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text(signature())
    (tmp_path / "b.toml").write_text(SWITCH)
    monkeypatch.chdir(tmp_path)
    names = ["a.toml", str(tmp_path / "b.toml"), "", "none.toml"]
    monkeypatch.setenv(VARIABLE, os.pathsep.join(names))
    found = site_signatures()
    assert [each.id for each in found.signatures] == ["site.a", "site.switch-down"]
    assert found.problems == (f"{tmp_path / 'none.toml'} is left out: there is no such file",)


def test_site_signatures_without_the_variable_reads_the_configuration_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, text in (("user", signature(cause="'of the user'")), ("site", SWITCH)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "signatures.toml").write_text(text)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda name: tmp_path / "user")
    monkeypatch.setattr("platformdirs.site_config_path", lambda name: tmp_path / "site")
    assert [each.id for each in site_signatures().signatures] == ["site.a", "site.switch-down"]
    (tmp_path / "site/signatures.toml").unlink()
    assert site_signatures() is site_signatures()  # read once
    module._read_once.cache_clear()
    assert (len(site_signatures().signatures), site_signatures().problems) == (1, ())


def test_examine_reports_a_faulty_site_signature_and_continues(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(signature(kind="'rot'") + SWITCH)
    monkeypatch.setenv(VARIABLE, str(file))
    log = tmp_path / "job.log"
    log.write_text("fabricd: lost uplink of r17\n")
    examined = examine([Log(Source("job.log"), log, None)])
    assert examined.diagnosis.verdict is not None
    assert examined.diagnosis.verdict.signature.id == "site.switch-down"
    assert [problem.partition(":")[0] for problem in examined.problems] == [
        f"signature 'site.a' of {file} is left out"
    ]
