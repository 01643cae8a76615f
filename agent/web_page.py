"""The page `/docs` of a service: its OpenAPI document as plain HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import msgspec

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
PAGE_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "section{border-top:1px solid #ccc;padding:.5rem 0}code,pre{font:14px/1.4 ui-monospace,monospace}"
    "pre{background:#f4f4f4;padding:.75rem;overflow:auto}th{text-align:left;padding-right:1rem}"
    "td{padding-right:1rem;vertical-align:top}.method{display:inline-block;min-width:4.5rem;font-weight:700}"
    "@media(prefers-color-scheme:dark){body{background:#16181b;color:#e8e8e8}pre{background:#24272b}}"
)


def docs_page(document: Mapping[str, Any]) -> str:
    """The OpenAPI document as a plain page: no script, nothing fetched from elsewhere."""
    info = document["info"]
    calls = [
        _docs_call(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    schemas = document.get("components", {}).get("schemas", {})
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(info['title'])}</title>"
        f'<meta name="viewport" content="width=device-width"><style>{PAGE_STYLE}</style></head><body>'
        f"<h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1>"
        f"<p>{html.escape(info.get('description', ''))}</p>"
        '<p>The same as data: <a href="/openapi.json">/openapi.json</a></p>'
        f"<h2>Calls</h2>{''.join(calls)}<h2>Messages</h2>"
        f"{''.join(_docs_schema(name, schema) for name, schema in sorted(schemas.items()))}</body></html>"
    )


def _docs_call(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{html.escape(one['name'])}</code><td>{one['in']}"
        f"<td>{'required' if one['required'] else ''}<td>{html.escape(one.get('description', ''))}</tr>"
        for one in operation["parameters"]
    )
    answers = "".join(
        f"<tr><td>{status}<td>{html.escape(answer['description'])}<td>{_docs_content(answer)}</tr>"
        for status, answer in operation["responses"].items()
    )
    body = f"<p>Body: {_docs_content(operation['requestBody'])}</p>" if "requestBody" in operation else ""
    return (
        f'<section id="{operation["operationId"]}"><h3><span class="method">{method.upper()}</span>'
        f"<code>{html.escape(path)}</code></h3><p>{html.escape(operation['summary'])}</p>{body}"
        f"{f'<table>{parameters}</table>' if parameters else ''}<table>{answers}</table></section>"
    )


def _docs_content(part: Mapping[str, Any]) -> str:
    return ", ".join(_docs_type(content["schema"]) for content in part.get("content", {}).values())


def _docs_type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = html.escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_docs_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_docs_type(schema['items'])}"
    return html.escape(str(schema.get("type", "any")))


def _docs_schema(name: str, schema: Mapping[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema)).decode()
    name = html.escape(name)
    return f'<section id="schema-{name}"><h3>{name}</h3><pre>{html.escape(text)}</pre></section>'
