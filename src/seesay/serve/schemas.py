"""A caption in the JSON that a client describes by a JSON schema."""

from __future__ import annotations

from typing import Any

DEEPEST = 8  # levels of objects
MOST = 1000  # values
EMPTY: dict[str, Any] = {"string": "", "array": [], "object": {}, "number": 0, "integer": 0, "boolean": False}
CAPTION = ("caption", "description", "alt", "title", "text", "summary", "answer", "response")


def filled(schema: dict[str, Any] | None, caption: str) -> Any:
    """An object of the schema: the caption in each text that asks for one, everything else empty.

    A captioner has no keywords to give, so lists stay empty.

    Args:
        schema: of an object; None stands for one with a `caption`.
        caption: the sentence.
    """
    if schema is None or not isinstance(schema.get("properties"), dict):
        return {"caption": caption}
    return _Filling(schema, caption).object(schema, DEEPEST)


class _Filling:
    """Fills one schema, whose references point to its `$defs`."""

    def __init__(self, root: dict[str, Any], caption: str) -> None:
        self.root, self.caption, self.left = root, caption, MOST

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, dict) or depth == 0:
            return {}
        return {name: self.value(name, each, depth) for name, each in list(properties.items())[: max(self.left, 0)]}

    def value(self, name: str, schema: Any, depth: int) -> Any:
        self.left -= 1
        schema = self.resolved(schema)
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            return options[0]
        if kind == "object":
            return self.object(schema, depth - 1)
        if kind == "string" and any(part in name.lower() for part in CAPTION):
            return self.caption
        return EMPTY.get(str(kind))

    def resolved(self, schema: Any) -> dict[str, Any]:
        """The schema behind references (`#/$defs/NAME`) and choices (the first that is not null)."""
        for _ in range(DEEPEST):
            if not isinstance(schema, dict):
                return {}
            choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if isinstance(reference := schema.get("$ref"), str):
                schema = self.referenced(reference)
            elif isinstance(choices, list):
                others = [each for each in choices if not (isinstance(each, dict) and each.get("type") == "null")]
                schema = others[0] if others else {"type": "null"}
            else:
                return schema
        return {}

    def referenced(self, reference: str) -> Any:
        found: Any = self.root
        for part in reference.split("/")[1:]:  # the first is "#", the root
            found = found.get(part) if isinstance(found, dict) else None
        return found
