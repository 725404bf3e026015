"""What the lines of a host list mean: the rules of the tools that read such lists.

| the lines have | read by | rules from |
|---|---|---|
| `h slots=4`, nothing but that counts | DeepSpeed, Horovod, FlagScale | deepspeed/launcher/runner.py |
| `h slots=4 max_slots=8`, `cpu = 4`, `^h` | Open MPI | PRRTE's src/util/hostfile |
| `rank 0=h slot=0` | Open MPI, as a rankfile | the same |
| `h:4`, `h:4 user=me` | MPICH, Intel MPI, MS-MPI | HYDU_process_mfile_token of MPICH |
| `h 4` | LSF, `bsub -hostfile` | its manual |
| `h 4 all.q@h UNDEFINED` | SGE, PE_HOSTFILE | sge_pe(5) |
| `h` | all of them | |

A line that two of these tools take for different things is a fault, not a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.inventory.devices import MAX_DEVICES
from orchestrator.inventory.hostfiles.lines import Line, Word
from orchestrator.inventory.hostfiles.slots import SlotList, Slots
from orchestrator.inventory.problems import Problems, closest_key
from orchestrator.inventory.ranges import HostSpec
from orchestrator.inventory.values import whole_number
from orchestrator.util.text import quoted, word_set

SLOTS = word_set("slots cpu count")
MAX_SLOTS = word_set(
    "slots-max slots_max max-slots max_slots cpu-max cpu_max max-cpu max_cpu "
    "count-max count_max max-count max_count"
)
_USER = word_set("username user-name user_name")
_OPEN_MPI = SLOTS | MAX_SLOTS | _USER | {"port"}
HYDRA_KEYS = word_set("user binding")
_DEEPSPEED = re.compile(r"\S{1,1000}+\s++slots=[0-9]{1,9}+")
_KEYS = ("slots", "max_slots", "username", "port")
_EXPECTED = "expected a host, as in node0 or user@node0"

Rule = Callable[[Line, SlotList, Problems], None]


@dataclass(frozen=True)
class Dialect:
    """The rules of one tool: what a list in it is called, what a line is like, and what it means."""

    name: str
    line: str
    read: Rule


def dialect_of(lines: Sequence[Line]) -> Dialect:
    """Return the dialect in which the lines, at least one, are most likely written."""
    found = {_dialect(line) for line in lines}
    for dialect in (RANKFILE, OPEN_MPI, HYDRA, SGE, LSF):
        if dialect in found:
            return DEEPSPEED if dialect is OPEN_MPI and _is_deepspeed(lines) else dialect
    return SLOT_A_LINE if _has_repeated(lines) else PLAIN


def read_hosts(lines: Sequence[Line], dialect: Dialect, problems: Problems) -> SlotList:
    """Return the hosts in `lines`. Faults are added to `problems`. Raises TooMany."""
    hosts = SlotList(problems)
    for line in lines:
        own = _dialect(line)
        if own in (dialect, PLAIN) or (own, dialect) in _SAME:
            dialect.read(line, hosts, problems)
        else:
            form = f"{own.line}, not {dialect.line} as in {dialect.name}"
            message = f"this line has the form {form}; write all of them in one form"
            problems.add(line.number, line.words[0].column, "", message)
    if dialect is RANKFILE:
        _require_ranks(lines, problems)
    if dialect is OPEN_MPI and any(each.given for each in hosts):
        for each in hosts:
            _require_slots(each, problems)
    return hosts


def hosts_by_rank(lines: Sequence[Line]) -> list[str]:
    """Return the host of each rank, in lower case, of lines that were read as a rankfile without faults."""
    targets = [line.words[1] for line in lines]
    targets.sort(key=lambda target: whole_number(target.key) or 0)
    return [(target.value or "").rpartition("@")[2].casefold() for target in targets]


def _require_ranks(lines: Sequence[Line], problems: Problems) -> None:
    """Report what is no rank, a rank that is given twice, and one beyond their number, as PRRTE does."""
    given: dict[int, int] = {}
    for line in lines:
        if len(line.words) < 2 or line.words[1].value is None:
            continue  # _read_rank has reported the line
        rank = line.words[1]
        number = whole_number(rank.key)
        if number is None or number >= len(lines):
            expected = f"a rank from 0 to {len(lines) - 1}"
            message = f"expected {expected}, as there are {len(lines)}; found {quoted(rank.key)}"
            problems.add(line.number, rank.column, "", message)
        elif given.setdefault(number, line.number) != line.number:
            message = f"rank {number} has a host already, on line {given[number]}"
            problems.add(line.number, rank.column, "", message)


def _require_slots(each: Slots, problems: Problems) -> None:
    """Report a host without slots among others: an error for DeepSpeed, for Open MPI as many as CPUs."""
    if not each.given:
        message = f"expected slots for {each.name} too, as in {each.name} slots=8"
        problems.add(each.line, each.column, "", message)


def _dialect(line: Line) -> Dialect:
    """Return the dialect that this line alone is written in."""
    first, *rest = line.words
    keys = {word.key for word in line.words if word.value is not None}
    if first.key == "rank" and first.value is None and rest and rest[0].value is not None:
        return RANKFILE
    if keys & _OPEN_MPI or first.key.startswith(("^", "+")):
        return OPEN_MPI
    if keys & HYDRA_KEYS or _colon(first) is not None:
        return HYDRA
    if keys:
        return OPEN_MPI
    if rest and rest[0].key.isdecimal():
        return LSF if len(rest) == 1 else SGE
    return PLAIN


def _is_deepspeed(lines: Sequence[Line]) -> bool:
    """Tell whether DeepSpeed reads all lines, and none of them twice."""
    return all(_DEEPSPEED.match(line.content) for line in lines) and not _has_repeated(lines)


def _has_repeated(lines: Sequence[Line]) -> bool:
    """Tell whether a host is named on several lines."""
    hosts = {line.words[0].key.rpartition("@")[2].casefold() for line in lines}
    return len(hosts) < len(lines)


def _colon(word: Word) -> str | None:
    """Return the number after the colon of a host; None if there is none, or it is in an IPv6 address."""
    try:
        return HostSpec.parse(word.key).port
    except ValueError:
        return None


def _host(
    word: Word,
    line: Line,
    hosts: SlotList,
    problems: Problems,
    user: str | None = None,
    port: str | None = None,
) -> Slots | None:
    """Return the slots of the host in `word`; None, with a problem, if it is not a host."""
    try:
        spec = HostSpec.parse(word.key)
    except ValueError:
        spec = None
    if spec is None or word.value is not None:
        problems.add(line.number, word.column, "", f"{_EXPECTED}; found {quoted(str(word))}")
        return None
    if "[" in spec.host or "," in spec.host:
        message = "one host a line; -H and hosts.yaml take ranges"
        problems.add(line.number, word.column, "", f"expected {message}; found {quoted(word.key)}")
        return None
    return hosts.find(line.number, word.column, spec, user, port)


def _number(text: str | None, what: str, word: Word, line: Line, problems: Problems) -> int | None:
    """Return the number of slots in `text`; None, with a problem, if it is not one."""
    number = whole_number(text)
    if number is not None and number <= MAX_DEVICES:
        return number
    message = f"expected {what}, at most {MAX_DEVICES}; found {quoted(str(word))}"
    problems.add(line.number, word.column, "", message)
    return None


def _only(words: Sequence[Word], line: Line, problems: Problems) -> None:
    """Report the first of `words`, which nothing reads."""
    if words:
        message = f"expected nothing more on this line; found {quoted(str(words[0]))}"
        problems.add(line.number, words[0].column, "", message)


def _read_plain(line: Line, hosts: SlotList, problems: Problems) -> None:
    found = _host(line.words[0], line, hosts, problems)
    _only(line.words[1:], line, problems)
    if found is not None:
        found.count += 1
        found.given = found.count > 1


def _read_slot_a_line(line: Line, hosts: SlotList, problems: Problems) -> None:
    found = _host(line.words[0], line, hosts, problems)
    _only(line.words[1:], line, problems)
    if found is not None:
        found.count, found.given = found.count + 1, True


def _read_columns(line: Line, hosts: SlotList, problems: Problems) -> None:
    """`h 4`; more columns are SGE's. Without a number, it is one slot."""
    first, *rest = line.words
    found = _host(first, line, hosts, problems)
    count: int | None = 1
    if rest:
        count = _number(str(rest[0]), "a number of slots", rest[0], line, problems)
    if found is not None and count is not None:
        found.count, found.given = found.count + count, True


def _read_hydra(line: Line, hosts: SlotList, problems: Problems) -> None:
    """`h:4 user=me`; without a number, it is one process."""
    first, *rest = line.words
    settings = {word.key: word for word in rest if word.value is not None}
    unknown = [word for word in rest if word.value is None or word.key not in HYDRA_KEYS]
    _only(unknown, line, problems)
    user = settings["user"].value if "user" in settings else None
    found = _host(first, line, hosts, problems, user)
    count: int | None = 1
    if (text := _colon(first)) is not None:
        what = "a number of ranks after the colon, as in node0:8"
        count = _number(text, what, first, line, problems)
    if found is not None and count is not None:
        found.count, found.given = found.count + count, True


def _read_rank(line: Line, hosts: SlotList, problems: Problems) -> None:
    """`rank 0=h slot=0-3` is one slot, whatever it is bound to."""
    if len(line.words) < 2 or line.words[1].value is None:
        message = "expected a rank and its host, as in rank 0=node0 slot=0"
        problems.add(
            line.number, line.words[0].column, "", f"{message}; found {quoted(line.content)}"
        )
        return
    target = line.words[1]
    word = Word(target.value or "", None, target.column)
    if word.key.startswith("+"):
        _refuse_relative(word, line, problems)
    elif (found := _host(word, line, hosts, problems)) is not None:
        found.count, found.given = found.count + 1, True


def _read_open_mpi(line: Line, hosts: SlotList, problems: Problems) -> None:
    """As hostfile_parse_line of PRRTE: keys in any order; a host that is named again has a slot more."""
    first, *rest = line.words
    if first.key.startswith("+"):
        _refuse_relative(first, line, problems)
        return
    if first.key.startswith("^"):
        hosts.remove(HostSpec(first.key[1:], None, None, False))
        return
    if (colon := _colon(first)) is not None:
        message = f"expected a port as port={colon}, or slots as slots={colon}, after a blank"
        problems.add(line.number, first.column, "", f"{message}; found {quoted(first.key)}")
        return
    settings = {word.key: word.value for word in rest if word.value is not None}
    user = next((settings[key] for key in settings if key in _USER), None)
    faults = len(problems)
    found = _host(first, line, hosts, problems, user, settings.get("port"))
    if found is None:
        return
    found.given = found.given or found.count > 0
    found.count += 1
    most = None
    for word in rest:
        if word.value is None or word.key not in _OPEN_MPI:
            _refuse_word(word, line, problems)
        elif word.key in SLOTS:
            _set_slots(found, word, line, problems)
        elif word.key in MAX_SLOTS:
            most = _most(found, word, line, problems) or most
    if most is not None and not found.given:
        found.count, found.given = most, True
    if len(problems) > faults:
        found.given = True  # one message for one line


def _refuse_word(word: Word, line: Line, problems: Problems) -> None:
    if word.value is None:
        _only((word,), line, problems)
        return
    meant = closest_key(word.key, _KEYS)
    hint = f"did you mean {meant}=?" if meant else f"Open MPI knows {', '.join(_KEYS)}"
    problems.add(line.number, word.column, "", f"unknown key {quoted(word.key)}; {hint}")


def _set_slots(found: Slots, word: Word, line: Line, problems: Problems) -> None:
    count = _number(word.value, "a number of slots", word, line, problems)
    if count is None:
        return
    if found.given:
        message = f"slots of {found.name} are given twice; it is first named on line {found.line}"
        problems.add(line.number, word.column, "", message)
    found.count, found.given = count, True


def _most(found: Slots, word: Word, line: Line, problems: Problems) -> int | None:
    """Return the number of max_slots; None, with a problem, if it is less than the slots before it."""
    most = _number(word.value, "a number of slots", word, line, problems)
    if most is not None and most < found.count:
        message = f"{word} is less than the {found.count} slots of {found.name}"
        problems.add(line.number, word.column, "", message)
        return None
    return most


def _read_deepspeed(line: Line, hosts: SlotList, problems: Problems) -> None:
    """`h slots=4`: whatever follows has no meaning to DeepSpeed; what Open MPI would read must agree."""
    first, slots, *rest = line.words
    known = tuple(word for word in rest if word.value is not None and word.key in _OPEN_MPI)
    _read_open_mpi(Line(line.number, line.content, (first, slots, *known)), hosts, problems)


def _refuse_relative(word: Word, line: Line, problems: Problems) -> None:
    message = (
        f"{quoted(word.key)} is relative to an allocation of Open MPI; expected the host's name"
    )
    problems.add(line.number, word.column, "", message)


DEEPSPEED = Dialect("a DeepSpeed hostfile", "`h slots=4`", _read_deepspeed)
OPEN_MPI = Dialect("an Open MPI hostfile", "`h slots=4`", _read_open_mpi)
RANKFILE = Dialect("an Open MPI rankfile", "`rank 0=h slot=0`", _read_rank)
HYDRA = Dialect("an MPICH hostfile (HOST:RANKS)", "`h:4`", _read_hydra)
LSF = Dialect("an LSF hostfile (HOST SLOTS)", "`h 4`", _read_columns)
SGE = Dialect("an SGE hostfile (PE_HOSTFILE)", "`h 4 QUEUE ...`", _read_columns)
PLAIN = Dialect("a list of hosts", "`h`", _read_plain)
SLOT_A_LINE = Dialect("a list of hosts, a line for each slot", "`h`", _read_slot_a_line)
_SAME = {(OPEN_MPI, DEEPSPEED), (LSF, SGE)}
