"""Values written by a rank and read by the controller."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import pickle
import struct
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.calls.reader import InvalidValue, UnknownClass, ValueFile
from orchestrator.node import value_writer
from orchestrator.node.value_writer import MAGIC, PLACE, CannotTravel, describe


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    tags: list[str]


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int
    calls: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        self.calls += 1


class Pair(NamedTuple):
    left: int
    right: str


class Colour(enum.IntEnum):
    RED = 1


_ZONES = st.one_of(
    st.none(), st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23))
)
_TIMES = st.builds(
    lambda time, offset: time.replace(tzinfo=None if offset is None else datetime.timezone(offset)),
    st.datetimes(),
    _ZONES,
)
_KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.sampled_from([Colour.RED, Pair(1, "a"), (1, ("b",))]),
)
_ATOMS = st.one_of(
    _KEYS,
    st.floats(),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters(), max_size=20),
    st.lists(st.sampled_from("\ud800\udc00a\x00"), max_size=4).map("".join),
    st.binary(min_size=1020, max_size=1030),
    st.binary().map(bytearray),
    _TIMES,
    st.times(),
    st.timedeltas(),
    st.sampled_from([Path("/a b"), Path("../c")]),
    st.builds(Point, st.integers(), st.lists(st.text())),
)
_VALUES = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(_KEYS, inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=3).map(collections.OrderedDict),
        st.sets(_KEYS, max_size=4),
        st.frozensets(_KEYS, max_size=4),
    ),
    max_leaves=15,
)


def write(path: Path, value: object, kind: str = "returned") -> Path:
    with path.open("wb") as file:
        value_writer.write(file, kind, value)
    return path


def shape(value: Any) -> Any:
    """Return the value with the types of all its parts, for comparison: NaN equals itself."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [shape(each) for each in value]
    if kind in (dict, collections.OrderedDict):
        return kind, [(shape(key), shape(each)) for key, each in value.items()]
    if kind in (set, frozenset):
        return kind, {repr(each) for each in value}
    return kind, repr(value)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    folder = tmp_path_factory.mktemp("values")
    return lambda: folder / uuid.uuid4().hex


@given(_VALUES)
def test_safe_value_comes_back_with_its_types(place: Callable[[], Path], value: object) -> None:
    assert shape(ValueFile(write(place(), value)).load()) == shape(value)


@given(_VALUES, st.data())
def test_changed_file_raises_invalid_value_or_has_plain_types(
    place: Callable[[], Path], value: object, data: st.DataObject
) -> None:
    raw = bytearray(write(place(), value).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = place()
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1, 40]))])
    try:
        loaded = ValueFile(path).load()
    except InvalidValue:
        return
    _assert_plain(loaded)


def _assert_plain(value: Any) -> None:
    assert type(value).__module__ in {"builtins", "collections", "datetime", "pathlib", __name__}
    if isinstance(value, list | tuple | set | frozenset):
        for each in value:
            _assert_plain(each)
    if isinstance(value, dict):
        for key, each in value.items():
            _assert_plain(key)
            _assert_plain(each)


def header_file(path: Path, tree: object, buffers: object = (), body: bytes = b"") -> Path:
    """Write a file with this header, whatever it says."""
    header = json.dumps({"kind": "returned", "value": tree, "buffers": buffers}).encode()
    body = body.ljust(-(-len(body) // 64) * 64, b"\0")
    start = MAGIC + PLACE.pack(64 + len(body), len(header))
    path.write_bytes(start.ljust(64, b"\0") + body + header)
    return path


@pytest.mark.parametrize(
    "tree",
    [
        ["nonsense"],
        [[]],
        [{}],
        {"a": 1},
        ["d", 1],
        ["d", ["l"], 1],
        ["S", ["l"]],
        ["s", 5],
        ["s", -1],
        ["B", True],
        ["b", 5],
        ["b", "xyz"],
        ["i", "__import__"],
        ["i", 5],
        ["f", "1e5"],
        ["c", "a", 1.0],
        ["dt", "2020", 7],
        ["dt", "9" * 4000, 0],
        ["td", 1e300, 0, 0],
        ["td", 10**15, 0, 0],
        ["p", ["l"]],
        ["e", __name__, "Colour", "mro"],
        ["e", "os", "system", "x"],
        ["dc", "subprocess", "Popen", "args", "true"],
        ["dc", "antigravity", "Point"],
        ["dc", __name__, "Point", "x", 1],
        ["dc", __name__, "Point", "tags", 1, "x", 1],
        ["dc", __name__, "Point.__init__.__globals__", "x", 1],
        ["dc", __name__, ["l"], "x", 1],
        ["nt", __name__, "Point", ["x"], 1],
        ["nt", __name__, "Pair", ["left", "right"], 1],
        ["na", "<f8", [1 << 62], "C", 0],
        ["na", "|O", [1], "C", 0],
        ["na", "<f8", [-1], "C", 0],
        ["na", "<f8", [1] * 100, "C", 0],
        ["na", [["a", "|O"]], [1], "C", 0],
        ["na", "<f8", [1], "os.system", 0],
        ["na", "V0", [1 << 60], "C", 0],
        ["ns", "<f8", ["b", "00"]],
        ["tt", "float32", [1 << 40], [0], 0, 0, False, False],
        ["tt", "float32", [1 << 40], [1], 0, 0, False, False],
        ["tt", "float32", [2], [1], 1, 0, False, False],
        ["tt", "float32", [2], [1], 60, 0, False, False],
        ["tt", "float32", [2], [1, 1], 0, 0, False, False],
        ["tt", "save", [2], [1], 0, 0, False, False],
        ["tt", "__loader__", [2], [1], 0, 0, False, False],
        ["tdtype", "hub"],
        ["tdev", "cuda:99999999999"],
        ["tsize", -1],
        ["l"] * 3,
        [["l"], 1],
    ],
    ids=lambda tree: str(tree)[:40],
)
def test_invalid_description_is_refused(tmp_path: Path, tree: object) -> None:
    path = header_file(tmp_path / "value", tree, [[64, 64]], bytes(64))
    if tree == ["l"] * 3:
        assert ValueFile(path).load() == ["l", "l"]
        return
    with pytest.raises(InvalidValue):
        ValueFile(path).load()


@pytest.mark.parametrize(
    "buffers",
    [[[64, 1 << 40]], [[64, -1]], [[1, 1]], [[0, 1 << 62]], [[True, 1]], ["ab"], [5], 5, [[64]]],
)
def test_buffer_outside_of_the_file_is_refused(tmp_path: Path, buffers: object) -> None:
    path = header_file(tmp_path / "value", ["B", 0], buffers, bytes(64))
    with pytest.raises(InvalidValue):
        ValueFile(path)


class Harmful:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps(Harmful()),
        bytes(1 << 20),
        MAGIC,
        MAGIC + PLACE.pack(1 << 62, 1 << 62),
        MAGIC + PLACE.pack(32, 1 << 40),
        MAGIC + PLACE.pack(32, 4) + b"null",
        MAGIC + PLACE.pack(32, 4) + b"{{{{",
        MAGIC + PLACE.pack(32, 200_000) + b"[" * 200_000,
        MAGIC + PLACE.pack(32, 45) + b'{"kind":"evil","value":null,"buffers":[],"":0}',
        MAGIC + PLACE.pack(32, 43) + b'{"kind":"returned","value":NaN,"buffers":0}',
    ],
    ids=lambda content: str(content[:30]),
)
def test_file_that_no_rank_wrote_is_refused(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "value").write_bytes(content)
    with pytest.raises(InvalidValue):
        ValueFile(tmp_path / "value").load()
    assert not Path("harmed").exists()


def test_deep_description_is_refused(tmp_path: Path) -> None:
    tree: object = 1
    for _ in range(300):
        tree = ["l", tree]
    with pytest.raises(InvalidValue, match="deeply"):
        ValueFile(header_file(tmp_path / "value", tree)).load()


def test_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret", 1)
    (tmp_path / "value").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        ValueFile(tmp_path / "value")


def test_many_long_keys_are_refused_on_both_sides(tmp_path: Path) -> None:
    # All of them have the same hash.
    keys = [n * ((1 << 61) - 1) for n in range(1, 20_000)]
    with pytest.raises(CannotTravel):
        write(tmp_path / "value", dict.fromkeys(range(1 << 60, (1 << 60) + 20_000)))
    tree = ["S", *(["i", hex(key)] for key in keys)]
    with pytest.raises(InvalidValue, match="too many keys"):
        ValueFile(header_file(tmp_path / "value", tree)).load()


def test_fields_are_set_without_calling_the_class(tmp_path: Path) -> None:
    value = Slotted(5)
    assert value.calls == 1
    assert ValueFile(write(tmp_path / "value", value)).load().calls == 1


def test_module_is_never_imported_because_a_file_names_it(tmp_path: Path) -> None:
    assert "this" not in sys.modules
    with pytest.raises(UnknownClass, match="import it first"):
        ValueFile(header_file(tmp_path / "value", ["dc", "this", "Zen"])).load()
    assert "this" not in sys.modules


class Local:
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"model": [1, {"layer": Local()}]},
            "result['model'][1]['layer'] is a tests.calls.test_values.Local",
        ),
        (Point(1, [print]), "result.tags[0] is a builtin_function_or_method"),  # type: ignore[list-item]
        ({(1, Local): 2}, "has a key that is a type"),
        (collections.Counter("aab"), "result is a collections.Counter"),
        (iter([1]), "result is a list_iterator"),
        ({1, Local}, "is a type"),
        (
            [datetime.datetime.now(datetime.UTC).astimezone().replace(tzinfo=None), Local],
            "result[1] is a type",
        ),
    ],
    ids=["nested", "field", "key", "counter", "iterator", "set", "list"],
)
def test_unsafe_value_is_named_with_its_place(tmp_path: Path, value: object, said: str) -> None:
    with pytest.raises(CannotTravel) as caught:
        write(tmp_path / "value", value)
    text = describe(caught.value, "train")
    assert said in text
    assert "trust=True" in text


def test_value_inside_itself_is_refused(tmp_path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(CannotTravel, match="part of itself"):
        write(tmp_path / "value", value)


def test_class_inside_a_function_is_refused(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Inner:
        x: int

    with pytest.raises(CannotTravel, match="at the top of its module"):
        write(tmp_path / "value", Inner(1))


def test_large_header_is_refused_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_writer, "MAX_HEADER", 1 << 20)
    with pytest.raises(CannotTravel, match="small values"):
        write(tmp_path / "value", list(range(1 << 20)))


def test_writer_needs_only_the_standard_library() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-IS", "-c", code, value_writer.__file__], check=True)


# -- numpy and torch ---------------------------------------------------------------------------


@pytest.mark.torch
def test_arrays_come_back_with_dtype_shape_and_values(tmp_path: Path) -> None:
    import numpy as np

    values: list[Any] = [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6)[::-2],
        np.zeros((0, 3), "i2"),
        np.array("text"),
        np.array([b"a", b"bc"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(2, [("a", "i4"), ("b", ">f8", (2,))]),
        np.float32(1.5),
        np.str_("x"),
        np.datetime64("2020-01-01", "ns"),
        np.array([1 + 2j], "c8"),
        np.array([True, False]),
        np.float16("nan"),
    ]
    for value, loaded in zip(values, ValueFile(write(tmp_path / "v", values)).load(), strict=True):
        assert type(loaded) is type(value)
        assert loaded.dtype == value.dtype
        assert loaded.shape == value.shape
        assert loaded.tobytes() == value.tobytes()
    with pytest.raises(CannotTravel, match="numpy array of object"):
        write(tmp_path / "v", np.array([Local()]))
    with pytest.raises(CannotTravel, match="MaskedArray"):
        write(tmp_path / "v", np.ma.masked_array([1, 2]))


@pytest.mark.torch
def test_tensors_come_back_with_dtype_strides_and_shared_memory(tmp_path: Path) -> None:
    import torch

    base = torch.arange(12.0).reshape(3, 4)
    values = [
        *(
            torch.ones(3).to(getattr(torch, name))
            for name in ("bfloat16", "float8_e5m2", "bool", "complex64")
        ),
        base,
        base.t(),
        base[1],
        torch.zeros(2).expand(3, 2),
        torch.zeros(0, 5),
        torch.tensor(3, dtype=torch.int64),
        torch.ones(2, requires_grad=True),
        torch.nn.Parameter(torch.ones(2), requires_grad=False),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.tensor([1j]).conj(),
    ]
    loaded = ValueFile(write(tmp_path / "v", values)).load()
    for value, there in zip(values, loaded, strict=True):
        assert type(there) is type(value)
        assert (there.dtype, there.shape) == (value.dtype, value.shape)
        assert torch.equal(
            there.float() if there.itemsize == 1 else there,
            value.float() if value.itemsize == 1 else value,
        )
        assert there.requires_grad == value.requires_grad
    assert loaded[12].stride() == values[12].stride()
    loaded[4][1, 0] = 99.0
    assert loaded[6][0] == 99.0  # they share their memory
    assert ValueFile(tmp_path / "v").load()[4][1, 0] == 4.0  # and not with the file


@pytest.mark.torch
def test_part_of_a_large_tensor_is_written_without_the_rest(tmp_path: Path) -> None:
    import torch

    path = write(tmp_path / "v", torch.zeros(1 << 20)[5:15])
    assert path.stat().st_size < 2000


@pytest.mark.torch
def test_state_dict_comes_back_for_load_state_dict(tmp_path: Path) -> None:
    import torch

    def model() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))

    state = model().state_dict()
    loaded = ValueFile(write(tmp_path / "v", state)).load()
    assert type(loaded) is collections.OrderedDict
    assert loaded._metadata == state._metadata  # type: ignore[attr-defined]
    model().load_state_dict(loaded)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["sparse", "meta", "module", "subclass"])
def test_tensor_without_plain_memory_is_refused(tmp_path: Path, kind: str) -> None:
    import torch

    class Own(torch.Tensor):
        pass

    value = {
        "sparse": lambda: torch.eye(2).to_sparse(),  # type: ignore[no-untyped-call]
        "meta": lambda: torch.empty(2, device="meta"),
        "module": lambda: torch.nn.Linear(1, 1),
        "subclass": lambda: torch.ones(2).as_subclass(Own),
    }[kind]()
    with pytest.raises(CannotTravel):
        write(tmp_path / "v", value)


@pytest.mark.torch
@given(st.data())
def test_changed_tensor_file_raises_or_gives_tensors_within_the_file(
    place: Callable[[], Path], data: st.DataObject
) -> None:
    import numpy as np
    import torch

    path = write(place(), [torch.arange(6.0).reshape(2, 3), np.arange(4, dtype="i2")])
    raw = path.read_bytes()
    offset, _ = struct.unpack_from("<QQ", raw, len(MAGIC))
    header = bytearray(raw[offset:])
    for _ in range(data.draw(st.integers(1, 3))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(
            st.sampled_from(b'0123456789-,[]"tfi8')
        )
    path.write_bytes(raw[:offset] + header)
    try:
        loaded = ValueFile(path).load()
    except InvalidValue:
        return
    for each in loaded if isinstance(loaded, list) else []:
        if isinstance(each, torch.Tensor | np.ndarray):
            assert each.nbytes <= 4096
            assert isinstance(float(each.sum().real), float)  # all of it can be read
