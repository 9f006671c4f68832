"""YAML as plain values, from files that may come from anyone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import yaml

from seesay.errors import printable, shown

NOT_TEXT = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp")}
BITS = 256  # of a whole number; Python refuses to write those of many thousands


def read_yaml(text: str, as_text: Collection[str] = ()) -> Any:
    """The content of a YAML text.

    Args:
        text: YAML.
        as_text: dotted keys of which the values are text even where YAML would read a number, a date or a boolean:
            `name: 007` is "007" then. null stays null.

    Stricter than YAML: no key twice in one mapping (it would keep the last one), and no aliases, by which a short text
    stands for more than fits any memory.

    Raises:
        ValueError: it is not such a text; what is wrong, on one line.
    """
    loader = None
    try:
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
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
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


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            problem = f"{shown(f'*{event.anchor}')} is an alias: write out what it stands for"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

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
