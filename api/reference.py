"""The API's reference for people: one page made of the OpenAPI document, complete without scripts or anything from elsewhere."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
code,pre{font:13px/1.45 ui-monospace,monospace;background:#f4f4f4;border-radius:3px}code{padding:.1em .3em}
pre{padding:.7em;overflow-x:auto}details{border:1px solid #ddd;border-radius:5px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0}
.method{display:inline-block;min-width:4.2em;font-weight:700}.dim{color:#666}
"""
_WORD = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")


def reference(document: Mapping[str, Any]) -> str:
    """The page."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    title = html.escape(document["info"]["title"])
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f"<title>{title} API</title><style>{_STYLE}</style></head><body><h1>{title} API</h1>"
    yield f"<div>{_prose(document['info']['description'])}</div>"
    yield '<p class="dim">For programs: <a href="/openapi.json">/openapi.json</a>. Problems: <a href="/problems">/problems</a>.</p>'
    yield '<h2 id="versions">Versions</h2><table>'
    for each in document["info"]["x-aybiza-versions"]:
        yield _row(f"<code>{html.escape(each['version'])}</code>", " ".join(each["changes"]) or "The first.")
    yield "</table>"
    yield "<details><summary>What every operation may answer</summary><table>"
    for name, answer in sorted(document["components"]["responses"].items()):
        yield _answer(name.removeprefix("Problem"), answer)
    yield "</table></details>"
    for tag in document["tags"]:
        yield f'<h2 id="{html.escape(tag["name"])}">{html.escape(tag["name"].capitalize())}</h2><p>{_words(tag["description"])}</p>'
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation.get("tags", ()):
                    yield from _operation(method, path, operation, document["components"]["schemas"])
    yield "<h2>Shapes</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<details id="{html.escape(name)}"><summary><code>{html.escape(name)}</code></summary>'
        yield f"{_words(schema.get('description', ''))}{_properties(schema)}</details>"
    yield "</body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details id="{html.escape(operation["operationId"])}"><summary><span class="method">{method.upper()}</span>'
    yield f'<code>{html.escape(path)}</code> <span class="dim">{html.escape(operation["summary"])}</span></summary>'
    yield f"<p>{_words(operation['description'])}</p>"
    if parameters := operation.get("parameters"):
        rows = (
            _row(f"{each['name']} <span class=dim>{each['in']}</span>", _type(each["schema"]), each.get("description", ""))
            for each in parameters
        )
        yield f"<h4>Parameters</h4><table>{''.join(rows)}</table>"
    if body := operation.get("requestBody"):
        schema = next(iter(body["content"].values()))["schema"]
        yield f"<h4>Body</h4>{_words(body.get('description', ''))} {_type(schema)}{_properties(schema)}"
        for example in schemas.get(schema.get("$ref", "").rpartition("/")[2], schema).get("examples", ()):
            yield f"<pre>{html.escape(json.dumps(example, indent=2))}</pre>"
    yield "<h4>Answers</h4><table>"
    for status, answer in sorted(operation["responses"].items()):
        # Those that every operation may give stand at the top of the page, once.
        if "$ref" not in answer:
            yield _answer(status, answer)
    yield "</table></details>"


def _answer(status: str, answer: Mapping[str, Any]) -> str:
    shapes = [f"{_type(content['schema'])} <span class=dim>{kind}</span>" for kind, content in answer.get("content", {}).items()]
    return _row(status, " ".join(shapes), answer["description"])


def _properties(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        _row(
            f"<code>{html.escape(name)}</code>{'' if name in required else ' <span class=dim>optional</span>'}",
            _type(each),
            each.get("description", ""),
        )
        for name, each in schema.get("properties", {}).items()
    )
    return f"<table>{''.join(rows)}</table>" if schema.get("properties") else ""


def _row(*cells: str) -> str:
    *first, prose = cells
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in first)}<td>{_words(prose)}</td></tr>"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "enum" in schema:
        return " ".join(f"<code>{html.escape(str(each))}</code>" for each in schema["enum"])
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most")) if key in schema]
    title = schema.get("title") if schema.get("type") == "object" else None
    return html.escape(" ".join([str(title or schema.get("format") or schema.get("type") or "anything"), *limits]))


def _prose(text: str) -> str:
    items = [part.strip() for part in re.split(r"^\* ", text.strip(), flags=re.MULTILINE)]
    return f"<p>{_words(items[0])}</p><ul>{''.join(f'<li>{_words(item)}</li>' for item in items[1:])}</ul>"


def _words(text: str) -> str:
    return _STRONG.sub(r"<b>\1</b>", _WORD.sub(r"<code>\1</code>", html.escape(text)))
