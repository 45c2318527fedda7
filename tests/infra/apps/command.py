"""The command as a person runs it: a process of its own, without a terminal."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

AYBIZA = Path(sys.executable).parent / "aybiza"


def aybiza(*words: str, state_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end on a state folder of its own."""
    told: Mapping[str, str] = {**os.environ, "AYBIZA_STATE_DIR": str(state_dir), "COLUMNS": "200", **environment}
    return subprocess.run([AYBIZA, *words], env=told, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
