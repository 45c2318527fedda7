"""A record's leaf in its partition's Merkle tree (RFC 6962), over the bytes as they are stored."""

import hashlib
import struct

_LENGTHS = struct.Struct(">qIIII")


def leaf_hash(*, key: bytes, timestamp_ms: int, ce_type: str, packed_header: bytes, value: bytes) -> bytes:
    """SHA-256 of a zero byte and the record's serialisation; 32 bytes.

    The serialisation, big-endian: append time in ms (8 bytes), lengths of key, CloudEvents type, packed header and value (4 bytes
    each), then those four one after the other. The other Kafka headers follow from these (`ce_id`, `ce_source`) or are constant.
    Topic, partition and offset are the leaf's place in the tree and so not in it.
    """
    return leaf_of(key, timestamp_ms, ce_type.encode(), packed_header, value)


def leaf_of(key: bytes, timestamp_ms: int, kind: bytes, packed_header: bytes, value: bytes) -> bytes:
    """As `leaf_hash`, for who makes millions and has the type as bytes."""
    lengths = _LENGTHS.pack(timestamp_ms, len(key), len(kind), len(packed_header), len(value))
    return hashlib.sha256(b"".join((b"\0", lengths, key, kind, packed_header, value))).digest()
