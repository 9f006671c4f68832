"""A caption in the JSON that a client describes by a JSON schema."""

from __future__ import annotations

from typing import Any

DEEPEST = 8
EMPTY: dict[str, Any] = {
    "string": "",
    "array": [],
    "object": {},
    "number": 0,
    "integer": 0,
    "boolean": False,
}
CAPTION = ("caption", "description", "alt", "title", "text", "summary", "answer", "response")


def filled(schema: dict[str, Any] | None, caption: str) -> Any:
    """An object of the schema: its texts that ask for a caption have it, the rest is empty.

    A model that only captions can give no keywords, so lists stay empty.

    Args:
        schema: of an object; None stands for one with a `caption`.
        caption: the sentence.
    """
    if schema is None or not isinstance(schema.get("properties"), dict):
        return {"caption": caption}
    return _object(schema, caption, DEEPEST)


def _object(schema: dict[str, Any], caption: str, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or depth == 0:
        return {}
    return {name: _value(name, each, caption, depth) for name, each in properties.items()}


def _value(name: str, schema: Any, caption: str, depth: int) -> Any:
    schema = schema if isinstance(schema, dict) else {}
    kinds = schema.get("type", "string")
    kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
    if isinstance(options := schema.get("enum"), list) and options:
        return options[0]
    if kind == "object":
        return _object(schema, caption, depth - 1)
    if kind == "string" and any(part in name.lower() for part in CAPTION):
        return caption
    return EMPTY.get(str(kind))
