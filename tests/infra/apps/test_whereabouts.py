"""Processes are found where they listen for as long as they live, and no longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

from infra.apps.whereabouts import processes, remembered

_REMEMBERS = """
import sys, time
from pathlib import Path
from infra.apps.whereabouts import remembered
with remembered(Path(sys.argv[1]), "commands", peer="127.0.0.1:1/aa"):
    print("remembered", flush=True)
    time.sleep(60)
"""


class TestAProcess:
    def test_is_found_while_it_runs(self, tmp_path: Path) -> None:
        with remembered(tmp_path, "api", api="http://127.0.0.1:1"), remembered(tmp_path, "realtime", voice="http://127.0.0.1:2"):
            found = processes(tmp_path)
        assert [(each.role, each.pid, each.api, each.voice) for each in found] == [
            ("api", os.getpid(), "http://127.0.0.1:1", None),
            ("realtime", os.getpid(), None, "http://127.0.0.1:2"),
        ]
        assert processes(tmp_path) == []

    def test_that_was_killed_is_forgotten(self, tmp_path: Path) -> None:
        process = subprocess.Popen([sys.executable, "-c", _REMEMBERS, str(tmp_path)], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            assert [(each.pid, each.peer) for each in processes(tmp_path)] == [(process.pid, "127.0.0.1:1/aa")]
            process.kill()
        assert processes(tmp_path) == []
        assert list((tmp_path / "processes").iterdir()) == []

    def test_is_not_another_one_that_got_its_number(self, tmp_path: Path) -> None:
        with remembered(tmp_path, "api", api="http://127.0.0.1:1"):
            (file,) = (tmp_path / "processes").iterdir()
            told = json.loads(file.read_text())
            file.write_text(json.dumps({**told, "started": told["started"] - 60}))
            assert processes(tmp_path) == []

    def test_that_left_a_torn_file_is_forgotten(self, tmp_path: Path) -> None:
        with remembered(tmp_path, "api"):
            (file,) = (tmp_path / "processes").iterdir()
            file.with_name(file.name.replace("api", "realtime")).write_text('{"role": "real')
            assert [each.role for each in processes(tmp_path)] == ["api"]
            assert [each.name for each in (tmp_path / "processes").iterdir()] == [file.name]

    def test_of_another_machine_is_left_to_it(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "processes" / "api-1.elsewhere.json"
        elsewhere.parent.mkdir()
        elsewhere.write_text("{}")
        assert processes(tmp_path) == []
        assert elsewhere.exists()
