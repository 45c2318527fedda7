"""The messages and services of the gRPC view, made of the descriptors that lie beside the .proto file."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf import struct_pb2 as _struct
from google.protobuf import timestamp_pb2 as _timestamp

PACKAGE = "aybiza.v1"
PROTO = "aybiza/v1/aybiza.proto"
_DESCRIPTORS = Path(__file__).resolve().parents[3] / "schemas" / "grpc" / "aybiza.binpb"
SERVICES = tuple(f"{PACKAGE}.{name}" for name in ("Calls", "Agents", "Numbers", "Flags", "Events"))
# What our file imports must be known first.
_IMPORTED = (_struct.DESCRIPTOR, _timestamp.DESCRIPTOR)


@cache
def pool() -> Any:
    """Everybody's descriptors, and ours among them."""
    everybody = descriptor_pool.Default()
    found = descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes())
    for each in found.file:
        if each.name == PROTO:
            everybody.Add(each)
    return everybody


def service(name: str) -> Any:
    """A service's descriptor: its methods, each with the types of its messages."""
    return pool().FindServiceByName(name)


@cache
def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def filled(kind: str, document: Mapping[str, Any]) -> Any:
    """A message of what an answer's JSON says; what the message has no field for is left out."""
    return json_format.ParseDict(document, message(kind)(), ignore_unknown_fields=True, descriptor_pool=pool())
