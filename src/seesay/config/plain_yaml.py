"""YAML as plain values, from files that may come from anyone."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import yaml

from seesay.errors import printable, shown

NOT_TEXT = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp")}
LONGEST = 2**16  # characters: a recipe has some 1,500, and YAML takes a second for these
DEEPEST = 50  # lists and mappings in each other; a recipe has 3
BITS = 256  # of a whole number; Python refuses to write those of many thousands

if TYPE_CHECKING:
    _Fast = yaml.SafeLoader
else:  # seven times as fast, where PyYAML was built with libyaml
    _Fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, as_text: Collection[str] = ()) -> Any:
    """The content of a YAML text.

    Stricter than YAML: no key twice in one mapping (it would keep the last one), and no aliases, by which a short text
    stands for more than fits any memory.

    Args:
        text: YAML.
        as_text: dotted keys of which the values are text even where YAML would read a number, a date or a boolean:
            `name: 007` is "007" then. null stays null.

    Raises:
        ValueError: it is not such a text; what is wrong, on one line.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text):,} characters are too many, expected at most {LONGEST:,}")
    loader = None
    try:
        _refuse_aliases(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _keep_text(node, as_text)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(printable(f"{error.problem or error.context}{place}")) from None
    except yaml.YAMLError as error:
        raise ValueError(printable(str(error).partition("\n")[0])) from None
    except (ValueError, OverflowError) as error:  # of numbers and dates that are none
        raise ValueError(printable(error)) from None
    finally:
        if loader is not None:
            loader.dispose()


def _keep_text(node: yaml.Node, as_text: Collection[str], key: str = "") -> None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode):
                _keep_text(value, as_text, f"{key}.{name.value}" if key else name.value)
    elif key in as_text:
        for scalar in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(scalar, yaml.ScalarNode) and scalar.tag in NOT_TEXT:
                scalar.tag = "tag:yaml.org,2002:str"


def _refuse_aliases(text: str) -> None:
    """And nesting that would be too deep for what is done to each node."""
    depth = 0
    for event in yaml.parse(text, _Fast):
        if isinstance(event, yaml.AliasEvent):
            problem = f"{shown(f'*{event.anchor}')} is an alias: write out what it stands for"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="brackets are nested too deeply", problem_mark=event.start_mark)


class _Loader(_Fast):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{shown(key.value)} is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if value.bit_length() > BITS:
            raise yaml.MarkedYAMLError(problem=f"{shown(value)} is too large", problem_mark=node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
