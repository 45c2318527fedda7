"""Personal fields that only a holder of the subject's key can read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import sealing
from events.sealing import BrokenSeal, KeyErased, KeyRing, Sealed, digest_of

MASTER = bytes(range(32))


class KeysInMemory:
    """A key store for one test; `forget` is erasure."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, subject: str) -> bytes | None:
        return self.kept.get(subject)

    def put_if_absent(self, subject: str, wrapped: bytes) -> bytes:
        return self.kept.setdefault(subject, wrapped)

    def forget(self, subject: str) -> None:
        del self.kept[subject]


@pytest.fixture
def keys() -> KeysInMemory:
    return KeysInMemory()


@pytest.fixture
def ring(keys: KeysInMemory) -> KeyRing:
    return KeyRing(MASTER, keys)


class TestKeyRing:
    def test_opens_all_that_it_sealed_with_a_few_keys_in_memory(self, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sealing, "_MOST_KEYS", 4)
        sealed = [ring.seal(f"caller {number}", f"words {number}") for number in range(10)]
        assert [ring.open(each) for each in sealed] == [f"words {number}" for number in range(10)]
        assert len(ring._keys) <= 4  # noqa: SLF001 - what nobody sees is what would grow


class TestSealing:
    @given(st.text())
    def test_opens_what_it_sealed(self, words: str) -> None:
        ring = KeyRing(MASTER, KeysInMemory())
        sealed = ring.seal("AYB-1/c1", words)
        assert sealed.subject == "AYB-1/c1"
        assert ring.open(sealed) == words

    def test_shows_nothing_of_the_words_but_their_length(self, ring: KeyRing) -> None:
        words = "my number is five five five"
        box = ring.seal("AYB-1/c1", words).box
        assert len(box) == 12 + len(words) + 16
        assert not any(word.encode() in box for word in words.split())

    def test_gives_a_repeated_command_the_same_bytes(self, ring: KeyRing) -> None:
        assert ring.seal("AYB-1/c1", "hello") == ring.seal("AYB-1/c1", "hello")

    def test_gives_equal_words_of_two_people_other_bytes(self, ring: KeyRing) -> None:
        assert ring.seal("AYB-1/c1", "hello").box != ring.seal("AYB-1/c2", "hello").box

    def test_opens_after_a_restart(self, ring: KeyRing, keys: KeysInMemory) -> None:
        sealed = ring.seal("AYB-1/c1", "hello")
        assert KeyRing(MASTER, keys).open(sealed) == "hello"

    def test_agrees_with_another_process_that_came_first(self, keys: KeysInMemory) -> None:
        one, other = KeyRing(MASTER, keys), KeyRing(MASTER, keys)
        assert other.open(one.seal("AYB-1/c1", "hello")) == one.open(other.seal("AYB-1/c1", "hello"))

    @pytest.mark.parametrize("at", [0, 11, 12, 16, -1])
    def test_refuses_a_box_that_was_altered(self, ring: KeyRing, at: int) -> None:
        box = bytearray(ring.seal("AYB-1/c1", "hello").box)
        box[at] ^= 1
        with pytest.raises(BrokenSeal):
            ring.open(Sealed("AYB-1/c1", bytes(box)))

    @pytest.mark.parametrize("length", [0, 1, 12, 27])
    def test_refuses_a_box_that_was_cut(self, ring: KeyRing, length: int) -> None:
        box = ring.seal("AYB-1/c1", "hello").box
        with pytest.raises(BrokenSeal):
            ring.open(Sealed("AYB-1/c1", box[:length]))

    def test_refuses_a_box_that_was_put_under_another_name(self, ring: KeyRing) -> None:
        ring.seal("AYB-1/c2", "something")
        with pytest.raises(BrokenSeal):
            ring.open(Sealed("AYB-1/c2", ring.seal("AYB-1/c1", "hello").box))

    def test_refuses_keys_that_another_master_key_wrapped(self, ring: KeyRing, keys: KeysInMemory) -> None:
        sealed = ring.seal("AYB-1/c1", "hello")
        with pytest.raises(BrokenSeal, match="another master key"):
            KeyRing(bytes(32), keys).open(sealed)

    def test_refuses_a_wrapped_key_that_was_moved_to_another_subject(self, ring: KeyRing, keys: KeysInMemory) -> None:
        sealed = ring.seal("AYB-1/c1", "hello")
        keys.kept["AYB-1/c2"] = keys.kept["AYB-1/c1"]
        with pytest.raises(BrokenSeal):
            KeyRing(MASTER, keys).open(Sealed("AYB-1/c2", sealed.box))

    def test_cannot_open_once_the_key_is_gone(self, ring: KeyRing, keys: KeysInMemory) -> None:
        sealed = ring.seal("AYB-1/c1", "hello")
        keys.forget("AYB-1/c1")
        with pytest.raises(KeyErased):
            KeyRing(MASTER, keys).open(sealed)

    def test_asks_for_a_whole_master_key(self, keys: KeysInMemory) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            KeyRing(bytes(16), keys)


class TestReference:
    def test_is_the_same_for_every_program_with_the_master_key(self, ring: KeyRing) -> None:
        assert ring.reference("AYB-1", "+15550100") == KeyRing(MASTER, KeysInMemory()).reference("AYB-1", "+15550100")

    def test_differs_by_tenant_and_by_master_key(self, ring: KeyRing) -> None:
        told = {
            ring.reference("AYB-1", "+15550100"),
            ring.reference("AYB-2", "+15550100"),
            KeyRing(bytes(32), KeysInMemory()).reference("AYB-1", "+15550100"),
        }
        assert len(told) == 3

    def test_can_be_part_of_a_streams_name(self, ring: KeyRing) -> None:
        assert len(ring.reference("platform", "+15550100")) == 32
        assert set(ring.reference("platform", "+15550100")) <= set("0123456789abcdef")


def test_a_digest_tells_parts_from_their_joint() -> None:
    assert len(digest_of(b"ab")) == 16
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc")
