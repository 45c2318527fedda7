"""Keys on disk: the first one stays, whoever comes second, and no one else may read them."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from events.sealing import BrokenSeal, KeyErased
from infra.adapters.keyfile import BrokenKeyFile, SqliteKeyStore, open_key_ring, secret_file


def _put(path: Path, wrapped: bytes) -> None:
    SqliteKeyStore(path).put_if_absent("subject", wrapped)


class TestKeyStore:
    def test_keeps_the_first_key_of_a_subject(self, tmp_path: Path) -> None:
        store = SqliteKeyStore(tmp_path / "keys.sqlite")
        assert store.get("a") is None
        assert store.put_if_absent("a", b"first") == b"first"
        assert store.put_if_absent("a", b"second") == b"first"

    def test_agrees_on_one_key_between_processes(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.sqlite"
        SqliteKeyStore(path).close()
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=_put, args=(path, bytes([n]) * 4)) for n in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        kept = SqliteKeyStore(path).get("subject")
        assert kept in {bytes([n]) * 4 for n in range(4)}


class TestKeyRingOnDisk:
    def test_opens_after_a_restart_what_it_sealed_before(self, tmp_path: Path) -> None:
        ring, _ = open_key_ring(tmp_path / "keys" / "wrapping.key")
        sealed = ring.seal("subject", "+15550100")
        again, _ = open_key_ring(tmp_path / "keys" / "wrapping.key")
        assert again.open(sealed) == "+15550100"
        assert again.seal("subject", "+15550100") == sealed
        assert again.reference("t", "+15550100") == ring.reference("t", "+15550100")

    def test_cannot_open_without_the_key_or_with_another_master(self, tmp_path: Path) -> None:
        ring, store = open_key_ring(tmp_path / "a" / "wrapping.key")
        sealed = ring.seal("subject", "secret")
        with pytest.raises(KeyErased):
            open_key_ring(tmp_path / "b" / "wrapping.key")[0].open(sealed)
        store.close()
        (tmp_path / "a" / "wrapping.key").write_bytes(bytes(32))
        with pytest.raises(BrokenSeal):
            open_key_ring(tmp_path / "a" / "wrapping.key")[0].open(sealed)

    def test_is_readable_by_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        assert secret_file(path) == secret_file(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_says_what_to_do_when_the_file_is_cut(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(b"short")
        with pytest.raises(BrokenKeyFile, match="restore it"):
            secret_file(path)
