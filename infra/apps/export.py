"""`aybiza events export`: facts as files in a folder, and where the next run goes on."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from events.positions import Cursor
from infra.adapters.fact_files import Format, FormatMissing
from infra.apps.cli import asynchronous
from infra.apps.exporting import BadBound, Part, UnknownTypes, Wanted, bound_of, exported, types_of
from infra.apps.standing import log_side
from infra.apps.terminal import VerbFailed, results

_POSITION = "position.json"


class Folder:
    """Where an export lies, and how far it is: files that its position does not know of are written again."""

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self._folder, self._asked = folder, asked
        kept = folder / _POSITION
        self._kept: dict[str, Any] = (
            json.loads(kept.read_text()) if kept.exists() else {"asked": asked, "position": "", "parts": 0, "facts": 0}
        )
        if self._kept["asked"] != asked:
            raise VerbFailed(f"{folder} holds another export ({self._kept['asked']}). Take another folder, or ask as then.")
        # A run that was killed may have left files that its position does not know of; what is in them comes again.
        for file in folder.glob("part-*"):
            if int(file.name[5:10]) > self._kept["parts"]:
                file.unlink()

    @property
    def position(self) -> Cursor | None:
        """Where to go on; None for a folder that nothing was exported to."""
        return Cursor.parse(self._kept["position"]) if self._kept["position"] else None

    @property
    def facts(self) -> int:
        return int(self._kept["facts"])

    def take(self, part: Part) -> None:
        """Its files are on disk before its position is, so that a run that is killed between the two goes on before them."""
        number = self._kept["parts"] + 1
        for made in part.files:
            self._write(f"part-{number:05d}{made.suffix}", made.content)
        parts = number if part.files else self._kept["parts"]
        self._kept = {"asked": self._asked, "position": str(part.reached), "parts": parts, "facts": self.facts + part.facts}
        self._write(_POSITION, json.dumps(self._kept, indent=1).encode())

    def _write(self, name: str, content: bytes) -> None:
        draft = self._folder / f".{name}.draft"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / name)


@asynchronous
async def export(
    out: Annotated[Path, typer.Option(help="The folder. Where one holds this export already, it goes on from where that stands.")],
    form: Annotated[Format, typer.Option("--format", help="What kind of files.")] = Format.NDJSON,
    since: Annotated[str | None, typer.Option("--from", help="A time of appending, or a position that an export gave. Else: all.")] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="As --from; facts from there on are left out. Else: the end as it is now.")
    ] = None,
    types: Annotated[str | None, typer.Option(help="Only these, apart by commas: call-ended,consent-granted.v1")] = None,
    organisation: Annotated[str | None, typer.Option(help="Only this organisation's own streams.")] = None,
) -> None:
    """Facts as files, none twice and none left out, however often it is killed and run again. What is sealed on the log stays sealed."""
    asked = {"format": form.value, "from": since, "to": until, "types": types, "organisation": organisation}
    out.mkdir(parents=True, exist_ok=True)
    folder = Folder(out, asked)
    before = folder.facts
    try:
        begin, end = bound_of(since), bound_of(until)
        chosen = types_of([name.strip() for name in (types or "").split(",") if name.strip()]) if types else ()
        tenants = [organisation] if organisation else []
        wanted = Wanted(form=form, since=begin, until=end, ce_types=chosen, tenants=tenants)
        async with log_side() as side:
            async for part in exported(side.reader, wanted, side.key_ring, resumed=folder.position):
                folder.take(part)
    except (BadBound, UnknownTypes, FormatMissing) as error:
        raise VerbFailed(str(error)) from error
    results.print(f"{folder.facts - before} facts written to {out}, {folder.facts} in all; the next run goes on from there", soft_wrap=True)
