"""`aybiza schemas`: hold the event classes to everything that was ever written with them."""

import typer

from events import rooms
from events.registry import known_types
from infra.adapters.avro import files
from infra.apps.terminal import VerbFailed, results

schemas = typer.Typer(help="Check or write the schemas that are derived from the event classes.", no_args_is_help=True)


@schemas.command()
def check() -> None:
    """Find drift, incompatible changes, examples that read differently, and schemas without an example."""
    kinds = list(known_types())
    faults = files.check(files.SCHEMAS, kinds)
    if faults:
        raise VerbFailed("\n".join([*faults, "", "After a compatible change of a class type: aybiza schemas write"]))
    results.print(f"{len(kinds)} events in {len(rooms.ROOMS)} rooms agree with every schema they ever had")


@schemas.command()
def write() -> None:
    """Write derived schemas and missing golden examples; refused where today's classes break with an older schema."""
    kinds = list(known_types())
    faults = files.incompatible(files.SCHEMAS, kinds)
    if faults:
        raise VerbFailed(
            "\n".join([*faults, "", "Nothing was written. A breaking change is a new version of the event, with an upcaster."])
        )
    for name in files.write(files.SCHEMAS, kinds):
        results.print(name)
