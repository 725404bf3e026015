"""Read what a rank has written with `node/value_writer.py`. The file is not trusted: nothing in it is run.

Arrays, tensors and long texts are mapped from the file, copied only where they are changed. Classes are
looked up among the modules that this process has imported already, never imported by a name in the file;
of a class only the fields are set, no method is called.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import math
import mmap
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from orchestrator.node import trust
from orchestrator.node.value_writer import (
    ALIGNMENT,
    MAGIC,
    MAX_DEPTH,
    MAX_HEADER,
    MAX_ODD_KEYS,
    PLACE,
    TORCH_DTYPES,
    are_plain,
)

Kind = Literal["returned", "raised", "pickled"]

_KINDS = ("returned", "raised", "pickled")
_ISO = re.compile(r"[0-9T:.+-]{8,40}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_MAX_NAME = 500
_MAX_DIMENSIONS = 64
_DEVICE = re.compile(r"[a-z]{1,20}(?::[0-9]{1,4})?", re.ASCII)


class InvalidValue(Exception):
    """The file is not what a rank writes, or cannot be read in this process; the argument is why."""


class MissingLibrary(InvalidValue):
    """The value needs a package that is not installed here."""


class UnknownClass(InvalidValue):
    """The value has an instance of a class that this process does not know."""


class ValueFile:
    """The file at `path`, checked and mapped. Raises InvalidValue, and OSError."""

    def __init__(self, path: Path) -> None:
        with os.fdopen(trust.open_file(str(path)), "rb") as file:
            size = file.seek(0, 2)
            if size < len(MAGIC) + PLACE.size:
                raise InvalidValue(f"it has only {size} bytes")
            self._memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        if self._memory[: len(MAGIC)] != MAGIC:
            raise InvalidValue("it does not begin as a result does")
        offset, length = PLACE.unpack_from(self._memory, len(MAGIC))
        if length > MAX_HEADER or offset + length != size:
            raise InvalidValue("its header is not at its end")
        try:
            header = json.loads(self._memory[offset:], parse_constant=_refuse)
            self.kind: Kind = header["kind"]
            self._value = header["value"]
            self._buffers = [_buffer(each, offset) for each in header["buffers"]]
        except (ValueError, TypeError, LookupError, RecursionError, AttributeError) as error:
            raise InvalidValue(f"its header is not valid: {error!r:.200}") from None
        if self.kind not in _KINDS:
            raise InvalidValue("its kind is not known")

    def load(self) -> Any:
        """Return the value. Raises InvalidValue."""
        try:
            return _Reader(self._memory, self._buffers).decode(self._value)
        except InvalidValue:
            raise
        except RecursionError:
            raise InvalidValue("it is nested too deeply") from None
        except Exception as error:  # numpy and torch raise many kinds for an invalid one
            raise InvalidValue(f"{type(error).__name__}: {error}"[:300]) from None

    def unpickle(self) -> Any:
        """Return the value of a pickle: this runs what the node says. Raises what that raises."""
        return pickle.loads(self.load())


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _buffer(entry: Any, end: int) -> tuple[int, int]:
    offset, length = _whole(entry[0]), _whole(entry[1])
    if len(entry) != 2 or offset % ALIGNMENT or offset + length > end:
        raise ValueError(f"not the place of a buffer: {entry!r:.80}")
    return offset, length


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a whole number: {value!r:.80}")
    return value


class _Reader:
    def __init__(self, memory: mmap.mmap, buffers: Sequence[tuple[int, int]]) -> None:
        self._memory = memory
        self._buffers = buffers
        self._storages: dict[int, Any] = {}
        self._depth = 0
        self._decoders: dict[str, Callable[[list[Any]], Any]] = {
            "i": _long,
            "f": _special,
            "c": self._complex,
            "s": lambda a: str(self._bytes_of(*a), "utf-8", "surrogatepass"),
            "b": _hexadecimal,
            "B": lambda a: self._bytes_of(*a),
            "ba": lambda a: bytearray(self._typed(bytes, *a)),
            "l": lambda a: list(map(self.decode, a)),
            "t": lambda a: tuple(map(self.decode, a)),
            "S": lambda a: set(self._keys(a)),
            "F": lambda a: frozenset(self._keys(a)),
            "d": self._dict,
            "od": self._ordered_dict,
            "dt": lambda a: _moment(datetime.datetime, *a),
            "time": lambda a: _moment(datetime.time, *a),
            "date": lambda a: _moment(datetime.date, *a),
            "td": _timedelta,
            "p": lambda a: Path(self._typed(str, *a)),
            "e": _enum,
            "nt": self._named_tuple,
            "dc": self._dataclass,
            "na": self._array,
            "ns": self._scalar,
            "tt": self._tensor,
            "tsize": lambda a: _torch().Size(map(_whole, a)),
            "tdtype": lambda a: _torch_dtype(*a),
            "tdev": _device,
        }

    def decode(self, node: Any) -> Any:
        if type(node) is not list:
            if type(node) is dict:
                raise InvalidValue("it has an object where a value is expected")
            return node
        tag, *arguments = node
        decoder = self._decoders.get(tag)
        if decoder is None:
            raise InvalidValue(f"it has an unknown tag: {tag!r:.80}")
        self._depth += 1
        if self._depth > MAX_DEPTH + 5:
            raise InvalidValue("it is nested too deeply")
        try:
            return decoder(arguments)
        finally:
            self._depth -= 1

    def _typed(self, kind: type, node: Any) -> Any:
        value = self.decode(node)
        if type(value) is not kind:
            raise InvalidValue(f"expected {kind.__name__}, found {type(value).__name__}")
        return value

    def _bytes_of(self, number: Any) -> bytes:
        offset, length = self._buffers[_whole(number)]
        return self._memory[offset : offset + length]

    def _complex(self, arguments: list[Any]) -> complex:
        real, imaginary = (self._typed(float, each) for each in arguments)
        return complex(real, imaginary)

    def _keys(self, nodes: Sequence[Any]) -> Iterator[Any]:
        keys = [self.decode(node) for node in nodes]
        if len(keys) > MAX_ODD_KEYS and not are_plain(keys):
            raise InvalidValue("a dict or set has too many keys that are not short")
        return iter(keys)

    def _dict(self, arguments: list[Any]) -> dict[Any, Any]:
        if len(arguments) % 2:
            raise InvalidValue("a dict has a key without a value")
        keys = self._keys(arguments[::2])
        return dict(zip(keys, map(self.decode, arguments[1::2]), strict=True))

    def _ordered_dict(self, arguments: list[Any]) -> collections.OrderedDict[Any, Any]:
        metadata, *pairs = arguments
        result = collections.OrderedDict(self._dict(pairs))
        found = self.decode(metadata)
        if isinstance(found, dict):
            result._metadata = found  # type: ignore[attr-defined]  # torch has versions there
        return result

    def _named_tuple(self, arguments: list[Any]) -> Any:
        module, name, fields, *values = arguments
        kind = known_class(module, name)
        if not (issubclass(kind, tuple) and getattr(kind, "_fields", None) == tuple(fields)):
            raise UnknownClass(f"{module}.{name} is no named tuple here, or has other fields")
        if len(values) != len(fields):
            raise InvalidValue("a named tuple has more values than fields, or fewer")
        return tuple.__new__(kind, map(self.decode, values))

    def _dataclass(self, arguments: list[Any]) -> Any:
        module, name, *pairs = arguments
        kind = known_class(module, name)
        if not dataclasses.is_dataclass(kind):
            raise UnknownClass(f"{module}.{name} is no dataclass here")
        names = [field.name for field in dataclasses.fields(kind)]
        if pairs[::2] != names or len(pairs) != 2 * len(names):
            raise UnknownClass(f"{module}.{name} has other fields here than on the node")
        result = object.__new__(kind)
        for field, node in zip(names, pairs[1::2], strict=True):
            # A frozen class refuses setattr, and another could define what it does.
            object.__setattr__(result, field, self.decode(node))
        return result

    # -- numpy and torch -----------------------------------------------------------------------

    def _array(self, arguments: list[Any]) -> Any:
        numpy = _numpy()
        descr, shape, order, number = arguments
        dtype = _numpy_dtype(descr)
        shape = _shape(shape)
        if order not in ("C", "F"):
            raise InvalidValue("an array has an unknown order")
        offset, length = self._buffers[_whole(number)]
        if math.prod(shape) * dtype.itemsize != length:
            raise InvalidValue(f"an array of {shape} has {length} bytes")
        if length == 0:
            return numpy.empty(shape, dtype, order)
        flat = numpy.frombuffer(self._memory, dtype, math.prod(shape), offset)
        return flat.reshape(shape, order=order)

    def _scalar(self, arguments: list[Any]) -> Any:
        descr, data = arguments
        dtype = _numpy_dtype(descr)
        value = self._typed(bytes, data)
        if len(value) != dtype.itemsize:
            raise InvalidValue(f"a number of type {dtype} has {len(value)} bytes")
        return _numpy().frombuffer(value, dtype, 1)[0]

    def _tensor(self, arguments: list[Any]) -> Any:
        name, shape, stride, offset, number, requires_grad, is_parameter = arguments
        torch, dtype = _torch(), _torch_dtype(name)
        shape, stride = _shape(shape), _shape(stride)
        size, count = dtype.itemsize, math.prod(shape)
        length = self._buffers[_whole(number)][1]
        if len(shape) != len(stride) or _whole(offset) % size:
            raise InvalidValue("a tensor has a shape and strides that do not agree")
        steps = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if count and (offset + (steps + 1) * size > length or count * size > length):
            raise InvalidValue(f"a tensor of {shape} has {length} bytes")
        result = torch.empty(0, dtype=dtype)
        if count:
            result.set_(self._storage(torch, number), offset // size, shape, stride)
        else:
            result = result.new_empty(shape)
        if is_parameter is True:
            return torch.nn.Parameter(result, requires_grad=requires_grad is True)
        return result.requires_grad_(requires_grad is True)

    def _storage(self, torch: Any, number: int) -> Any:
        if number not in self._storages:
            offset, length = self._buffers[number]
            data = torch.frombuffer(self._memory, dtype=torch.uint8, count=length, offset=offset)
            self._storages[number] = data.untyped_storage()
        return self._storages[number]


def known_class(module: Any, name: Any) -> type:
    """Return a class by the names that a node gives, if this process has imported it already.

    Raises UnknownClass: a module is never imported because a node names it.
    """
    for each in (module, name):
        if not isinstance(each, str) or len(each) > _MAX_NAME or not _NAME.fullmatch(each):
            raise InvalidValue(f"not the name of a class: {each!r:.80}")
    found: Any = sys.modules.get(module)
    if found is None:
        raise UnknownClass(
            f"it has a {module}.{name}, and {module} is not imported here: import it first"
        )
    for step in name.split("."):
        found = vars(found).get(step) if hasattr(found, "__dict__") else None
    if not isinstance(found, type):
        raise UnknownClass(f"it has a {module}.{name}, and {module} has no such class here")
    return found


def _long(arguments: list[Any]) -> int:
    (digits,) = arguments
    if not isinstance(digits, str) or not re.fullmatch("-?0x[0-9a-f]+", digits):
        raise InvalidValue(f"not an integer: {digits!r:.80}")
    return int(digits, 16)


def _special(arguments: list[Any]) -> float:
    (name,) = arguments
    if name not in ("nan", "inf", "-inf"):
        raise InvalidValue(f"not a number: {name!r:.80}")
    return float(name)


def _hexadecimal(arguments: list[Any]) -> bytes:
    (digits,) = arguments
    return bytes.fromhex(digits)


def _moment(kind: Any, iso: Any, fold: Any = 0) -> Any:
    if not isinstance(iso, str) or not _ISO.fullmatch(iso) or fold not in (0, 1):
        raise InvalidValue(f"not a time: {iso!r:.80}")
    value = kind.fromisoformat(iso)
    return value.replace(fold=fold) if fold else value


def _timedelta(arguments: list[Any]) -> datetime.timedelta:
    days, seconds, microseconds = arguments
    if {type(each) for each in arguments} != {int}:
        raise InvalidValue("not a length of time")
    return datetime.timedelta(days, seconds, microseconds)


def _enum(arguments: list[Any]) -> enum.Enum:
    module, name, member = arguments
    kind = known_class(module, name)
    if not issubclass(kind, enum.Enum) or member not in (members := kind.__members__):
        raise UnknownClass(f"{module}.{name} has no member {member!r:.80} here")
    found: enum.Enum = members[member]
    return found


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MAX_DIMENSIONS:
        raise InvalidValue("not the shape of an array")
    return tuple(map(_whole, value))


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise MissingLibrary(
            "it has numpy arrays: install numpy here (pip install numpy)"
        ) from None
    return numpy


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingLibrary("it has tensors: install torch here (pip install torch)") from None
    return torch


def _numpy_dtype(descr: Any) -> Any:
    dtype = _numpy().lib.format.descr_to_dtype(_described(descr))
    if dtype.hasobject or dtype.itemsize == 0:
        raise InvalidValue(f"an array has elements of {dtype}")
    return dtype


def _described(descr: Any) -> Any:
    """Return the description of a dtype as numpy has it, from JSON."""
    if isinstance(descr, str):
        return descr
    fields = []
    for name, kind, *shape in descr:
        title = tuple(name) if isinstance(name, list) else name
        fields.append((title, _described(kind), *map(_shape, shape)))
    return fields


def _torch_dtype(name: Any) -> Any:
    dtype = getattr(_torch(), name, None) if name in TORCH_DTYPES else None
    if dtype is None:
        raise InvalidValue(f"the torch that is installed here has no type {name!r:.80}")
    return dtype


def _device(arguments: list[Any]) -> Any:
    (name,) = arguments
    if not isinstance(name, str) or not _DEVICE.fullmatch(name):
        raise InvalidValue(f"not a device: {name!r:.80}")
    return _torch().device(name)
