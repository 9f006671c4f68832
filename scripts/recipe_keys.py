"""Write the tables of docs/recipes.md from the recipe's fields.

    python scripts/recipe_keys.py
    python scripts/recipe_keys.py --check

With `--check` nothing is written; the script fails if the document differs from the fields.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from seesay.config import Recipe
from seesay.config.keys import LARGEST, meanings

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
BEGIN = "<!-- made by scripts/recipe_keys.py from the fields in src/seesay/config -->\n"
END = "<!-- end of what scripts/recipe_keys.py made -->\n"


def main() -> None:
    """Write the document, or compare with it."""
    text = DOCUMENT.read_text("utf-8")
    made = with_tables(text)
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(made, encoding="utf-8")
    elif made != text:
        sys.exit(f"{DOCUMENT}: the tables differ from the fields; run python scripts/recipe_keys.py")


def with_tables(text: str) -> str:
    """The document's text with the tables replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tables() -> str:
    """A table of the keys outside sections, then one for each section."""
    hints = typing.get_type_hints(Recipe)
    sections = [name for name, hint in hints.items() if is_dataclass(hint)]
    parts = ["\n".join(_table(Recipe, ""))]
    for name in sections:
        about = (hints[name].__doc__ or "").strip()
        parts.append("\n".join([f"### {name}", "", about, "", *_table(hints[name], f"{name}.")]))
    return "\n\n".join(parts) + "\n"


def _table(cls: type, prefix: str) -> Iterator[str]:
    yield "| key | default | values | meaning |"
    yield "|---|---|---|---|"
    hints, texts = typing.get_type_hints(cls), meanings(cls)
    for field in fields(cls):
        if not is_dataclass(hints[field.name]):
            values = allowed(hints[field.name], field.metadata)
            meaning = _meaning(field, prefix, texts[field.name])
            yield f"| `{prefix}{field.name}` | `{_default(field)}` | {values} | {meaning} |"


def _meaning(field: Field[Any], prefix: str, text: str) -> str:
    if see := field.metadata.get("see"):
        text += f" See [{Path(see.partition('#')[0]).stem}]({see})."
    if alias := field.metadata.get("alias"):
        text += f" May also be written `{prefix}{alias}`."
    return text.replace("|", "\\|")


def _default(field: Field[Any]) -> str:
    if field.default is None or isinstance(field.default, bool):
        return {None: "null", True: "true", False: "false"}[field.default]
    if isinstance(field.default, tuple):
        return yaml.safe_dump(list(field.default), default_flow_style=True).strip()
    return f"{field.default}"


def allowed(hint: Any, metadata: Mapping[str, Any]) -> str:
    """The values that a key takes, in words."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(allowed(kind, metadata) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list"
    if hint in (int, float) and "low" in metadata:
        high = metadata.get("high", metadata.get("most"))
        if high >= LARGEST:
            return f"{metadata['low']:,} or more"
        return f"{metadata['low']:,} to {int(high) if high == int(high) else high:,}"
    names = {types.NoneType: "`null`", bool: "`true`, `false`", int: "whole number", str: "text"}
    return names[hint]


if __name__ == "__main__":
    main()
