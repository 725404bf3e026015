"""Write a value to a file in a format that can be read without running code.

A rank writes what its function returns with it; the controller reads that with `calls/reader.py`. This
file is also sent to the nodes as it is, for the ranks, so it imports nothing of orch.

The file: 16 bytes `MAGIC`, the offset and the length of the header (64 bits each, little endian), buffers
that start at multiples of 64 bytes, and the header, JSON: {"kind": KIND, "value": VALUE, "buffers":
[[offset, length]]}. In a VALUE, null, booleans, numbers and strings are themselves, and everything else is
an array that begins with a tag:

    ["i", HEX] integer of more than 53 bits       ["f", "nan" | "inf" | "-inf"]
    ["s", BUFFER] long string, UTF-8              ["c", REAL, IMAGINARY] complex
    ["b", HEX], ["B", BUFFER] bytes               ["ba", bytes as before] bytearray
    ["l", ...] list   ["t", ...] tuple            ["S", ...] set   ["F", ...] frozenset
    ["d", KEY, VALUE, ...] dict                   ["od", METADATA, KEY, VALUE, ...] OrderedDict
    ["dt", ISO, FOLD] ["date", ISO] ["time", ISO, FOLD] ["td", DAYS, SECONDS, MICROSECONDS] ["p", PATH]
    ["e", MODULE, CLASS, NAME] enum               ["nt", MODULE, CLASS, FIELDS, ...] named tuple
    ["dc", MODULE, CLASS, FIELD, VALUE, ...] dataclass
    ["na", DTYPE, SHAPE, ORDER, BUFFER] array     ["ns", DTYPE, bytes as before] scalar, of numpy
    ["tt", DTYPE, SHAPE, STRIDE, OFFSET, BUFFER, REQUIRES_GRAD, IS_PARAMETER] tensor; OFFSET is in bytes
    ["tsize", ...] ["tdtype", NAME] ["tdev", NAME] torch's Size, dtype and device

Tensors of one storage have one buffer; they share their memory again when they are read.
"""

import collections
import ctypes
import dataclasses
import datetime
import enum
import json
import math
import pathlib
import struct
import sys
from typing import Any, BinaryIO, Dict, List, Tuple

MAGIC = b"orch value 1\n\0\0\0"
PLACE = struct.Struct("<QQ")
ALIGNMENT = 64
MAX_HEADER = 32 << 20
"""Bytes; what is small is in the header, arrays and long texts are not."""
MAX_DEPTH = 100
MAX_ODD_KEYS = 10000
"""Entries of a dict or set whose keys are not all strings, bytes, floats or short integers."""
TORCH_DTYPES = frozenset((
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16",
    "float32", "float64", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
))  # fmt: skip

_SHORT = 1024  # bytes of a text or bytes that are written in the header
_EXACT = 1 << 53
_PIECE = 64 << 20  # bytes copied at a time
_NUMPY_KINDS = "biufcmMSUV"
_SAFE = (
    "numbers, text, bytes, lists, tuples, dicts, sets, dataclasses, enums, dates, paths, numpy arrays, "
    "torch tensors and state dicts"
)


class CannotTravel(TypeError):
    """A value, or a part of it, has a type that the format does not have."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.place = ""

    def at(self, step: str) -> "CannotTravel":
        """Return this error, for a value that is at `step` of the one that has been written."""
        self.place = step + self.place
        return self


def describe(error: CannotTravel, name: str) -> str:
    """Return what is wrong with the result of the function `name`, in a sentence."""
    return (
        "{0}() returned what cannot come back safely: result{1} is {2}; return {3}, or launch with "
        "trust=True to have it pickled".format(name, error.place, error.why, _SAFE)
    )


def write(file: BinaryIO, kind: str, value: Any) -> None:
    """Write `value` to an empty file. Raises CannotTravel, and OSError."""
    file.write(MAGIC + PLACE.pack(0, 0))
    writer = _Writer(file)
    tree = writer.encode(value, 0)
    writer.write_storages()
    header = {"kind": kind, "value": tree, "buffers": writer.buffers}
    data = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(data) > MAX_HEADER:
        raise CannotTravel(
            "{:d} MiB of small values (at most {:d} MiB; numpy arrays and tensors may be larger)".format(
                len(data) >> 20, MAX_HEADER >> 20
            )
        )
    offset = file.tell()
    file.write(data)
    file.seek(len(MAGIC))
    file.write(PLACE.pack(offset, len(data)))


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.buffers: List[List[int]] = []
        # By storage: the tensors, each with the array in the header that describes it.
        self._storages: Dict[Tuple[str, int], List[Tuple[Any, List[Any]]]] = {}
        self._around: List[int] = []

    def encode(self, value: Any, depth: int) -> Any:
        """Return `value` as JSON, after writing its buffers, except those of tensors."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -_EXACT < value < _EXACT else ["i", hex(value)]
        if kind is float:
            return value if math.isfinite(value) else ["f", repr(value)]
        if kind is str:
            return self._text(value)
        if kind is complex:
            return ["c", self.encode(value.real, depth), self.encode(value.imag, depth)]
        if kind is bytes:
            return self._bytes(value)
        if kind is bytearray:
            return ["ba", self._bytes(bytes(value))]
        if depth >= MAX_DEPTH:
            raise CannotTravel("nested more than {:d} levels deep".format(MAX_DEPTH))
        if id(value) in self._around:
            raise CannotTravel("a part of itself")
        self._around.append(id(value))
        try:
            return self._compound(value, kind, depth + 1)
        finally:
            self._around.pop()

    def _compound(self, value: Any, kind: type, depth: int) -> List[Any]:
        if kind is list:
            return self._items("l", value, depth)
        if kind is tuple:
            return self._items("t", value, depth)
        if kind in (set, frozenset):
            _check_keys(value)
            return self._items("S" if kind is set else "F", value, depth, "{{{!r:.60}}}")
        if kind is dict:
            return ["d", *self._pairs(value, depth)]
        if kind is collections.OrderedDict:
            return ["od", self._metadata(value, depth), *self._pairs(value, depth)]
        if isinstance(value, enum.Enum):
            return ["e", *_class_of(kind), value.name]
        if dataclasses.is_dataclass(value):
            return self._dataclass(value, kind, depth)
        fields = getattr(kind, "_fields", None)
        if isinstance(value, tuple) and isinstance(fields, tuple):
            head = ["nt", *_class_of(kind), list(fields)]
            return head + self._items("", value, depth)[1:]
        return self._of_library(value, kind, depth)

    def _of_library(self, value: Any, kind: type, depth: int) -> List[Any]:
        if kind is datetime.datetime:
            _check_zone(value)
            return ["dt", value.isoformat(), value.fold]
        if kind is datetime.date:
            return ["date", value.isoformat()]
        if kind is datetime.time:
            _check_zone(value)
            return ["time", value.isoformat(), value.fold]
        if kind is datetime.timedelta:
            return ["td", value.days, value.seconds, value.microseconds]
        if isinstance(value, pathlib.PurePosixPath):
            return ["p", self._text(str(value))]
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy is not None:
            if kind in (numpy.ndarray, numpy.memmap):
                return self._array(numpy, value)
            if isinstance(value, numpy.generic):
                return ["ns", _descr(numpy, value.dtype), self._bytes(value.tobytes())]
        if torch is not None:
            if isinstance(value, torch.Tensor):
                return self._tensor(torch, value, kind)
            if kind is torch.Size:
                return ["tsize", *value]
            if kind is torch.dtype:
                return ["tdtype", str(value)[len("torch.") :]]
            if kind is torch.device:
                return ["tdev", str(value)]
        raise CannotTravel("a {}".format(_full_name(kind)))

    def _text(self, value: str) -> Any:
        try:
            data = value.encode("utf-8")
        except UnicodeEncodeError:
            # JSON would join two halves of a pair.
            data = value.encode("utf-8", "surrogatepass")
        else:
            if len(data) <= _SHORT:
                return value
        return ["s", self._buffer(data)]

    def _bytes(self, value: bytes) -> List[Any]:
        return ["b", value.hex()] if len(value) <= _SHORT else ["B", self._buffer(value)]

    def _items(self, tag: str, values: Any, depth: int, step: str = "") -> List[Any]:
        items: List[Any] = [tag]
        for index, value in enumerate(values):
            try:
                items.append(self.encode(value, depth))
            except CannotTravel as error:
                raise error.at(step.format(value) if step else "[{:d}]".format(index)) from None
        return items

    def _pairs(self, values: Any, depth: int) -> List[Any]:
        _check_keys(values)
        pairs: List[Any] = []
        for key, value in values.items():
            try:
                pairs.append(self.encode(key, depth))
            except CannotTravel as error:
                error.why = "has a key that is {}".format(error.why)
                error.place = ""
                raise
            try:
                pairs.append(self.encode(value, depth))
            except CannotTravel as error:
                raise error.at("[{!r:.60}]".format(key)) from None
        return pairs

    def _metadata(self, value: Any, depth: int) -> Any:
        """Return the versions that a module's state dict has beside its tensors, if it has any."""
        try:
            return self.encode(getattr(value, "_metadata", None), depth)
        except CannotTravel:
            return None

    def _dataclass(self, value: Any, kind: type, depth: int) -> List[Any]:
        pairs: List[Any] = []
        for field in dataclasses.fields(value):
            try:
                pairs += (field.name, self.encode(getattr(value, field.name), depth))
            except AttributeError:
                raise CannotTravel("not set").at("." + field.name) from None
            except CannotTravel as error:
                raise error.at("." + field.name) from None
        return ["dc", *_class_of(kind), *pairs]

    def _array(self, numpy: Any, value: Any) -> List[Any]:
        descr = _descr(numpy, value.dtype)
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        flat = numpy.asarray(value, order=order).reshape(-1, order=order)
        data = memoryview(flat.view(numpy.uint8))  # dates have no buffer of their own
        return ["na", descr, list(value.shape), order, self._buffer(data)]

    def _tensor(self, torch: Any, value: Any, kind: type) -> List[Any]:
        if kind not in (torch.Tensor, torch.nn.Parameter):
            raise CannotTravel("a {}".format(_full_name(kind)))
        name = str(value.dtype)[len("torch.") :]
        if value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            what = (
                "meta"
                if value.is_meta
                else "quantized"
                if value.is_quantized
                else str(value.layout)
            )
            raise CannotTravel("a tensor that has no plain memory ({})".format(what))
        if name not in TORCH_DTYPES:
            raise CannotTravel("a tensor of {}".format(name))
        data = value.detach().resolve_conj().resolve_neg()
        entry = [
            "tt", name, list(data.shape), list(data.stride()), 0, 0,
            value.requires_grad, kind is torch.nn.Parameter,
        ]  # fmt: skip
        place = (str(data.device), data.untyped_storage().data_ptr())
        if place[1] == 0:  # it has no elements
            place = ("", id(data))
        self._storages.setdefault(place, []).append((data, entry))
        return entry

    def write_storages(self) -> None:
        """Write the memory of all tensors, and complete what describes them in the header."""
        for tensors in self._storages.values():
            if len(tensors) == 1:
                data, entry = tensors[0]
                first, end = _extent(data)
                if (
                    end - first != data.numel() * data.element_size()
                ):  # a part of something, or expanded
                    data = data.contiguous()
                    tensors = [(data, entry)]
            spans = [_extent(data) for data, _ in tensors]
            first = min(span[0] for span in spans) // ALIGNMENT * ALIGNMENT
            last = max(span[1] for span in spans)
            index = self._memory(tensors[0][0], first, max(last, first))
            for (data, entry), span in zip(tensors, spans):
                entry[3] = list(data.stride())
                entry[4:6] = [span[0] - first if data.numel() else 0, index]

    def _memory(self, tensor: Any, first: int, end: int) -> int:
        """Write these bytes of the tensor's storage; return the number of the buffer."""
        if end <= first:
            return self._buffer(b"")
        torch = sys.modules["torch"]
        storage = tensor.untyped_storage()
        memory = torch.empty(0, dtype=torch.uint8, device=tensor.device)
        memory.set_(storage, first, (end - first,), (1,))
        begin = self._align()
        for start in range(0, end - first, _PIECE):
            piece = memory[start : start + _PIECE].cpu()
            self._file.write((ctypes.c_char * piece.numel()).from_address(piece.data_ptr()))
        self.buffers.append([begin, end - first])
        return len(self.buffers) - 1

    def _buffer(self, data: Any) -> int:
        """Write a buffer and return its number."""
        begin = self._align()
        self._file.write(data)
        self.buffers.append([begin, len(data)])
        return len(self.buffers) - 1

    def _align(self) -> int:
        here = self._file.tell()
        self._file.write(bytes(-here % ALIGNMENT))
        return here + -here % ALIGNMENT


def are_plain(keys: Any) -> bool:
    """Return whether no choice of such keys makes a dict or a set slow."""
    return all(
        type(key) in (str, bytes, float) or (type(key) is int and -_EXACT < key < _EXACT)
        for key in keys
    )


def _check_keys(keys: Any) -> None:
    if len(keys) > MAX_ODD_KEYS and not are_plain(keys):
        raise CannotTravel(
            "a {} with more than {:d} keys, not all of them short".format(
                type(keys).__name__, MAX_ODD_KEYS
            )
        )


def _check_zone(value: Any) -> None:
    if value.tzinfo is not None and type(value.tzinfo) is not datetime.timezone:
        raise CannotTravel("a time in a zone of {}".format(_full_name(type(value.tzinfo))))


def _extent(data: Any) -> Tuple[int, int]:
    """Return where the elements of a tensor begin and end in its storage, in bytes."""
    size = data.element_size()
    first = data.storage_offset() * size
    if data.numel() == 0:
        return first, first
    steps = sum((n - 1) * stride for n, stride in zip(data.shape, data.stride()))
    return first, first + (steps + 1) * size


def _descr(numpy: Any, dtype: Any) -> Any:
    if dtype.kind not in _NUMPY_KINDS or dtype.hasobject or dtype.itemsize == 0:
        raise CannotTravel("a numpy array of {}".format(dtype))
    descr = numpy.lib.format.dtype_to_descr(dtype)
    if numpy.lib.format.descr_to_dtype(descr) != dtype:
        raise CannotTravel("a numpy array of {}".format(dtype))
    return descr


def _class_of(kind: type) -> Tuple[str, str]:
    if "<" in kind.__qualname__:
        raise CannotTravel(
            "a {}, a class inside a function: define it at the top of its module".format(
                kind.__qualname__
            )
        )
    return kind.__module__, kind.__qualname__


def _full_name(kind: type) -> str:
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else "{}.{}".format(kind.__module__, name)
