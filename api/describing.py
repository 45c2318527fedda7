"""What the OpenAPI document says of the conventions: written into it for all operations at once, as `shaping` keeps them."""

import re
from collections.abc import Sequence
from typing import Any

from api.shapes import EXPANDED, PARTIAL, Shape, dotted
from api.versions import HEADER, Versions
from api.wire import Page

MERGE_PATCH = "application/merge-patch+json"
_JSON = "application/json"
_PARTIAL = {"schema": {"type": "object", "description": "The same, with the fields that were asked for."}}
_AGES = {
    "Deprecation": {"description": "Since when this is to be used no more (RFC 9745).", "schema": {"type": "string"}},
    "Sunset": {"description": "Until when it is answered (RFC 8594).", "schema": {"type": "string"}},
}
# One shape for all operations: a generator of clients makes a class of each that it meets.
_VERSION = {
    "name": HEADER, "in": "header", "required": False, "description": "The date version to ask and to answer in, instead of the key's.",
    "schema": {"$ref": "#/components/schemas/DateVersion"},
}  # fmt: skip
_PLACE = re.compile(r"\{[^}]*\}")


def describe(document: dict[str, Any], shapes: Sequence[Shape], versions: Versions) -> None:
    """Add the parameters, the bodies and the headers that no route declares by itself, and what came with which version."""
    document["info"]["x-aybiza-versions"] = [
        {"version": version, "changes": [change.told for change in versions.changes if change.since == version]}
        for version in reversed(versions.known)
    ]
    schemas = document["components"]["schemas"]
    schemas["DateVersion"] = {
        "type": "string", "title": "DateVersion", "description": "A version of the API, by the day from which on it is there.",
        "enum": list(versions.known),
    }  # fmt: skip
    for name, schema in schemas.items():
        if name.startswith("Page_"):
            schema.setdefault("description", Page.__doc__)
    by_operation = {shape.operation: shape for shape in shapes}
    answers = {_PLACE.sub("{}", path): _answer_of(methods) for path, methods in document["paths"].items()}
    for path, methods in document["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method, operation in methods.items():
            operation.setdefault("parameters", []).append(_VERSION)
            shape = by_operation.get(operation["operationId"])
            if method == "patch":
                content = operation["requestBody"]["content"]
                operation["requestBody"]["content"] = {MERGE_PATCH: content[_JSON], **content}
                # A program that fills in what a document has as default would change what it was not told to.
                for each in schemas[_name(content[_JSON]["schema"])]["properties"].values():
                    each.pop("default", None)
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    answer.setdefault("headers", {}).update(
                        {HEADER: {"description": "In which it is.", "schema": {"type": "string"}}, **_AGES}
                    )
            if body := operation.get("requestBody"):
                operation["requestBody"] = {**body, "content": {kind: _by_name(each, schemas) for kind, each in body["content"].items()}}
            if method == "get" and shape is not None:
                _of_one(document, operation, shape, answers)


def _of_one(document: dict[str, Any], operation: dict[str, Any], shape: Shape, answers: dict[str, Any]) -> None:
    operation["parameters"].append(_list("fields", list(dotted(shape.fields)), "Only these, of each thing; apart by commas."))
    content = operation["responses"]["200"]["content"]
    content[PARTIAL] = _PARTIAL
    if not shape.references:
        return
    operation["parameters"].append(_list("expand", sorted(shape.references), f"Add these under `{EXPANDED}`; apart by commas."))
    schemas = document["components"]["schemas"]
    model = schemas[_name(content[_JSON]["schema"])]
    if shape.paged:
        model = schemas[_name(model["properties"]["data"]["items"])]
    referred = {name: answers.get(href) for name, (_, href) in shape.references.items()}
    model["properties"][EXPANDED] = {
        "type": "object",
        "description": "What `expand` asked for; null where it is not there, or not the key's to see.",
        "properties": {name: {"anyOf": [found, {"type": "null"}]} for name, found in sorted(referred.items()) if found},
    }


def _by_name(content: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A body whose shape stands among the others, under its title: what a generator makes of it is called so."""
    schema = content["schema"]
    if schema.get("type") != "object" or "title" not in schema:
        return content
    schemas[schema["title"]] = schema
    return {**content, "schema": {"$ref": f"#/components/schemas/{schema['title']}"}}


def _answer_of(methods: dict[str, Any]) -> Any:
    """The schema of what a GET of a path answers with."""
    try:
        return methods["get"]["responses"]["200"]["content"][_JSON]["schema"]
    except KeyError:
        return None


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _list(name: str, names: list[str], description: str) -> dict[str, Any]:
    return {
        "name": name, "in": "query", "required": False, "description": description, "style": "form", "explode": False,
        "schema": {"type": "array", "items": {"type": "string", "enum": names}, "maxItems": 60, "uniqueItems": True},
    }  # fmt: skip
