"""Child processes are told from others, also in the instant in which one program becomes the next."""

import os
import signal
from pathlib import Path

from infra.local.children import is_alive, spawn


class TestIsAlive:
    def test_holds_while_one_program_becomes_the_next(self, tmp_path: Path) -> None:
        mark = str(tmp_path / "followed")
        Path(mark).touch()
        # env becomes tail, as setpriv becomes PostgreSQL; between the two the kernel shows no command line.
        for _ in range(50):
            child = spawn(["env", "tail", "-f", mark], log=tmp_path / "log")
            lived = [is_alive(child, mark=mark)]
            while not Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(b"tail"):
                lived.append(is_alive(child, mark=mark))
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            assert all(lived)
            assert not is_alive(child, mark=mark)

    def test_fails_for_a_program_without_the_mark(self, tmp_path: Path) -> None:
        child = spawn(["tail", "-f", "/dev/null"], log=tmp_path / "log")
        while not Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(b"tail"):
            pass
        assert is_alive(child, mark="tail")
        assert not is_alive(child, mark="another")
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
