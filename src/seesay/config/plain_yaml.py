"""A strict YAML reader for untrusted files, which returns plain values only."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import yaml

from seesay.errors import printable, shown

NOT_TEXT = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp")}
MAX_CHARACTERS = 2**16  # a recipe has some 1,500; parsing this many takes a second
MAX_DEPTH = 50  # of nested lists and mappings; a recipe has 3
MAX_BITS = 256  # of an integer; Python refuses to format integers of many thousands

if TYPE_CHECKING:
    _BaseLoader = yaml.SafeLoader
else:  # libyaml's loader is seven times as fast, but not every build of PyYAML has it
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, as_text: Collection[str] = ()) -> Any:
    """Parse a YAML text.

    Stricter than YAML: a mapping must not have a key twice (YAML keeps the last one), and aliases
    are refused, because with them a short text can expand beyond any memory.

    Args:
        text: YAML.
        as_text: dotted keys whose values are text even where YAML reads a number, a date or a
            boolean, so that `name: 007` gives "007". null stays null.

    Raises:
        ValueError: the text cannot be parsed; the message is one line.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{len(text):,} characters are too many, expected at most {MAX_CHARACTERS:,}")
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
    except (ValueError, OverflowError) as error:  # malformed numbers and dates
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
    """Refuse aliases, and nesting that is too deep for recursive functions."""
    depth = 0
    for event in yaml.parse(text, _BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            problem = f"{shown(f'*{event.anchor}')} is an alias: write out what it stands for"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="brackets are nested too deeply", problem_mark=event.start_mark)


class _Loader(_BaseLoader):
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
        if value.bit_length() > MAX_BITS:
            raise yaml.MarkedYAMLError(problem=f"{shown(value)} is too large", problem_mark=node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
