"""The 8 kHz network's numbers, read from the ONNX file in its package, whose Python modules ask for torch and are not imported."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]

# The fields of ONNX's messages that lead to a tensor, and those of the tensor (onnx/onnx.proto).
_GRAPH_OF_MODEL: Final = 7
_NODE: Final = 1
_ATTRIBUTE: Final = 5
_TENSOR: Final = 5
_GRAPH_OF_ATTRIBUTE: Final = 6
_DIM: Final = 1
_TYPE: Final = 2
_NAME: Final = 8
_RAW: Final = 9
_FLOAT32: Final = 1


class AnotherNetwork(RuntimeError):
    """The package has another network than the one that is known here."""


def bundled() -> Path:
    """Where the file is."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("silero_vad")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"


def read(model: bytes, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Array]:
    """The tensors of these names and shapes; the file has networks for two rates, whose shapes differ. Raises AnotherNetwork."""
    for branch in _branches(model):
        tensors = {name: tensor for name, tensor in _tensors(branch) if tensor.shape == shapes.get(name)}
        if len(tensors) == len(shapes):
            return tensors
    raise AnotherNetwork("silero_vad's network is not the one that this program runs; install the locked release")


def _branches(model: bytes) -> Iterator[bytes]:
    """The graphs of the first decision: one for each rate."""
    for graph in _of(model, _GRAPH_OF_MODEL):
        for node in _of(graph, _NODE):
            for attribute in _of(node, _ATTRIBUTE):
                yield from _of(attribute, _GRAPH_OF_ATTRIBUTE)


def _tensors(graph: bytes) -> Iterator[tuple[str, Array]]:
    for node in _of(graph, _NODE):
        for attribute in _of(node, _ATTRIBUTE):
            for tensor in _of(attribute, _TENSOR):
                fields = list(_fields(tensor))
                name, raw = b"".join(_of(tensor, _NAME)).decode(), b"".join(_of(tensor, _RAW))
                if name and (_TYPE, _FLOAT32) in fields:
                    yield name, np.frombuffer(raw, np.float32).reshape([int(size) for number, size in fields if number == _DIM])


def _of(message: bytes, number: int) -> Iterator[bytes]:
    return (value for each, value in _fields(message) if each == number and isinstance(value, bytes))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """A message of protocol buffers, field by field; numbers of fixed length are left out."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
            case 2:
                length, at = _varint(message, at)
                yield tag >> 3, message[at : at + length]
                at += length
            case 1 | 5 as fixed:
                at += 8 if fixed == 1 else 4
            case _:
                raise AnotherNetwork("silero_vad's network cannot be read")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
