"""What the scripted model can talk about when it answers for the demo business."""

import json
from pathlib import Path
from typing import Final

from infra.adapters.scripted_model.model import general_script
from infra.adapters.scripted_model.script import Script, read_script

_SCRIPT: Final = Path(__file__).with_name("script.json")


def demo_script() -> Script:
    """The practice's own matters over those of every agent. Raises BrokenScript."""
    return read_script(json.loads(_SCRIPT.read_text("utf-8")), beneath=general_script())
