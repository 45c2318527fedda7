"""Personal fields, encrypted under their subject's own key before they reach the log: destroy the key, and the person is gone."""

import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

T = TypeVar("T")
# Keys of parts in memory: those of the calls under way, mostly.
_MOST_PARTS = 2000
# A caller's key is asked for as long as the call lasts, and then seldom.
_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Sealed(Generic[T]):
    """A value of T that only a holder of the subject's key can read: 12 bytes nonce, ciphertext, 16 bytes tag (AES-256-GCM)."""

    subject: str
    box: bytes


class KeyErased(Exception):
    """The subject's key was destroyed, or never was here: what it sealed cannot be read again."""


class BrokenSeal(Exception):
    """The box was altered, or sealed under another key."""


class KeyStore(Protocol):
    """Keeps wrapped keys. Implementations survive a crash right after `put_if_absent` returned."""

    def get(self, subject: str) -> bytes | None:
        """The wrapped key, or None."""

    def put_if_absent(self, subject: str, wrapped: bytes) -> bytes:
        """Keep a subject's first key; returns the one that is kept, whoever came first."""


class KeyRing:
    """Opens and seals with keys that a master key wraps. Not bound to a thread; keys are cached."""

    def __init__(self, master: bytes, store: KeyStore) -> None:
        if len(master) != 32:
            raise ValueError("the master key has 32 bytes")
        self._wrap = AESGCM(master)
        self._reference_key = hmac.digest(master, b"aybiza reference", "sha256")
        self._store = store
        self._keys: dict[str, bytes] = {}
        self._parts: dict[str, bytes] = {}

    def seal(self, subject: str, text: str) -> Sealed[str]:
        """Encrypt. The nonce is derived from key and text, so a repeated command has the same bytes and the same digest.

        Equal texts of one subject are therefore seen to be equal; across subjects nothing is.
        """
        return Sealed(subject, self.seal_bytes(subject, text.encode()))

    def open(self, sealed: Sealed[str]) -> str:
        """Decrypt. Raises KeyErased or BrokenSeal."""
        return self.open_bytes(sealed.subject, sealed.box).decode()

    def seal_bytes(self, subject: str, plain: bytes) -> bytes:
        """As `seal`, for bytes."""
        key = self._keys.get(subject) or self._key(subject, create=True)
        nonce = hmac.digest(key, b"nonce" + plain, "sha256")[:12]
        return nonce + AESGCM(key).encrypt(nonce, plain, subject.encode())

    def open_bytes(self, subject: str, box: bytes) -> bytes:
        """As `open`, for bytes."""
        key = self._keys.get(subject) or self._key(subject, create=False)
        try:
            return AESGCM(key).decrypt(box[:12], box[12:], subject.encode())
        except (InvalidTag, ValueError) as cause:
            raise BrokenSeal(f"a value sealed for {subject} cannot be opened") from cause

    def seal_part(self, subject: str, part: str, plain: bytes, *, about: bytes) -> bytes:
        """Encrypt under a key of one part's own (a call's), which the subject's key wraps: who erases either erases what it sealed.

        `about` is bound to the box and has to be given to open it.
        """
        key = self._part_key(subject, part, create=True)
        nonce = hmac.digest(key, b"nonce" + about + plain, "sha256")[:12]
        return nonce + AESGCM(key).encrypt(nonce, plain, about)

    def open_part(self, subject: str, part: str, box: bytes, *, about: bytes) -> bytes:
        """Raises KeyErased or BrokenSeal."""
        key = self._part_key(subject, part, create=False)
        try:
            return AESGCM(key).decrypt(box[:12], box[12:], about)
        except (InvalidTag, ValueError) as cause:
            raise BrokenSeal(f"a value sealed for {part} of {subject} cannot be opened") from cause

    def _part_key(self, subject: str, part: str, *, create: bool) -> bytes:
        name = f"{subject}#{part}"
        if (known := self._parts.get(name)) is not None:
            return known
        parent = self._keys.get(subject) or self._key(subject, create=create)
        wrapped = self._store.get(name)
        if wrapped is None:
            if not create:
                raise KeyErased(name)
            nonce = os.urandom(12)
            wrapped = self._store.put_if_absent(name, nonce + AESGCM(parent).encrypt(nonce, os.urandom(32), name.encode()))
        try:
            key = AESGCM(parent).decrypt(wrapped[:12], wrapped[12:], name.encode())
        except InvalidTag as cause:
            raise BrokenSeal(f"the key of {name} was wrapped under another key") from cause
        while len(self._parts) >= _MOST_PARTS:
            self._parts.pop(next(iter(self._parts)))
        self._parts[name] = key
        return key

    def reference(self, tenant: str, value: str) -> str:
        """A keyed hash by which a value is looked up without being known: 32 hex characters."""
        return hmac.digest(self._reference_key, f"{tenant}\0{value}".encode(), "sha256")[:16].hex()

    def _key(self, subject: str, *, create: bool) -> bytes:
        wrapped = self._store.get(subject)
        if wrapped is None:
            if not create:
                raise KeyErased(subject)
            nonce = os.urandom(12)
            fresh = nonce + self._wrap.encrypt(nonce, os.urandom(32), subject.encode())
            wrapped = self._store.put_if_absent(subject, fresh)
        try:
            key = self._wrap.decrypt(wrapped[:12], wrapped[12:], subject.encode())
        except InvalidTag as cause:
            raise BrokenSeal(f"the key of {subject} was wrapped under another master key") from cause
        if len(self._keys) >= _MOST_KEYS:
            # All at once, for another thread may be at it too; who is still needed is read again.
            self._keys = {}
        self._keys[subject] = key
        return key


def digest_of(*parts: bytes) -> bytes:
    """The 16-byte digest of what a caller sent, by which a repeat is told from another command under the same id."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(4, "big") + part)
    return whole.digest()[:16]
