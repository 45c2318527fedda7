"""`aybiza events fetch`: the files of an export that is done, each as the operation says that it is."""

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from infra.apps.cli import asynchronous
from infra.apps.standing import Answer, ask_api, read_side
from infra.apps.terminal import VerbFailed, print_json, results
from projections.operations import OPERATIONS


@asynchronous
async def fetch(
    operation: Annotated[str, typer.Argument(help="op_…, as `POST /v1/exports` answered.")],
    out: Annotated[Path, typer.Option(help="The folder. A file that it has already, whole, is not fetched again.")],
    reason: Annotated[str, typer.Option(help="Why you take it; it goes on record where what is sealed lies open in it.")] = "not-stated",
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Fetch the files of a finished export into a folder, and check each against its digest."""
    async with read_side() as side:
        found = await side.rows.find(OPERATIONS, organisation=None, where={"id": operation}, limit=1)
    if not found:
        raise VerbFailed(f"There is no operation {operation}.")
    tenant = found[0].tenant
    shown = _answered(ask_api("GET", f"/v1/operations/{operation}", tenant)).document
    if shown["status"] != "done":
        raise VerbFailed(f"The operation is {shown['status']}, and not done; ask again later.")
    out.mkdir(parents=True, exist_ok=True)
    for file in shown["files"]:
        path = out / file["name"]
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]:
            continue
        content = _answered(ask_api("GET", f"{file['href']}?{urlencode({'reason': reason})}", tenant)).body
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise VerbFailed(f"{file['name']} is not what the operation says that it is. Fetch it again.")
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(content)
        draft.replace(path)
    told = {"files": [str(out / file["name"]) for file in shown["files"]], "facts": shown["done"], "until": shown["files_expire_at"]}
    if json:
        print_json(told)
    else:
        results.print(f"{told['facts']} facts in {len(shown['files'])} files in {out}", soft_wrap=True)


def _answered(answer: Answer) -> Answer:
    if answer.status != HTTPStatus.OK:
        raise VerbFailed(answer.document.get("detail") or f"The API answers {answer.status}.")
    return answer
