"""The operator's key is shown to whoever may read its file, and is the one that the platform takes."""

from pathlib import Path

import pytest

from infra.apps.installation import open_installation, operator_key
from infra.apps.key import key
from infra.settings import load_settings


def test_is_the_one_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AYBIZA_STATE_DIR", str(tmp_path))
    with open_installation(load_settings()) as installation:
        key()
        shown = capsys.readouterr().out.strip()
        assert shown == installation.operator_key == operator_key(tmp_path / "keys")
    assert (tmp_path / "keys" / "operator.key").stat().st_mode & 0o077 == 0
