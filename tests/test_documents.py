"""The documents: their links lead somewhere, and their training commands are valid recipes."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from seesay.config.files import load_recipe, packaged_recipes

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(path: Path) -> Iterator[tuple[str, str]]:
    """Files, relative to the document, and anchors of its links; code has none."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_links_lead_somewhere(document: Path) -> None:
    for file, anchor in links(document):
        target = document.parent / file if file else document
        assert target.exists(), f"{file} is missing"
        assert not anchor or anchor in anchors(target), f"{file} has no heading #{anchor}"


def commands(path: Path) -> Iterator[list[str]]:
    """The words after each `seesay train`, with variables replaced by their (first) values."""
    variables: dict[str, str] = {}
    joined = re.sub(r"\\\n\s*", " ", path.read_text("utf-8"))
    for line in joined.splitlines():
        if found := re.match(r"    (\w+)=('[^']*'|\S+)", line) or re.match(r"\s+for (\w+) in (\S+)", line):
            variables[found[1]] = found[2].strip("'")
        if found := re.match(r"    \s*seesay train (\S+ .*)", line):
            words = re.sub(r"\$(\w+)", lambda match: variables[match[1]], found[1])
            yield shlex.split(words.replace("`", "").split(" #")[0].split(";")[0])


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_training_commands_are_valid_recipes(document: Path) -> None:
    """Every key, value and combination, wherever a packaged recipe is changed."""
    for name, *words in commands(document):
        if name in packaged_recipes():
            overrides = [word for word in words if re.match(r"[a-z_.0-9]+=", word)]
            load_recipe(name, ["data.path=x", *overrides])


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_scripts_exist(document: Path) -> None:
    for script in re.findall(r"scripts/\w+\.py", document.read_text("utf-8")):
        assert (ROOT / script).exists(), f"{script} is missing"


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_names_of_the_package_exist(document: Path) -> None:
    """Modules, classes and functions in code quotes, such as `seesay.metrics.pointing`."""
    for name in set(re.findall(r"`(seesay(?:\.\w+)+)", document.read_text("utf-8"))):
        assert exists(name), f"{name} is missing"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of the longest part that is one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(lambda value, part: getattr(value, part, None), parts[length:], found) is not None
    return False


ARCHITECTURE = ROOT / "docs" / "architecture.md"


def named_in_the_tree() -> set[Path]:
    """Files and folders in the tree of docs/architecture.md."""
    tree = re.search(r"^```text\nsrc/seesay/\n(.*?)^```", ARCHITECTURE.read_text("utf-8"), re.M | re.S)
    assert tree
    folders: list[Path] = [ROOT / "src" / "seesay"]
    named: set[Path] = set()
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.match(r"\s+([\w./]+(?:, [\w./]+)*)", line)[1].split(", "):  # pyright: ignore
            path = folders[depth - 1] / name
            named.add(path)
            if name.endswith("/"):
                folders[depth:] = [path]
    return named


def test_the_tree_is_that_of_the_package() -> None:
    """Every file and folder that docs/architecture.md names exists, and it names every module and package."""
    package = ROOT / "src" / "seesay"
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py" or path.parent == package]
    packages = [path.parent for path in package.rglob("__init__.py") if path.parent != package]
    named = named_in_the_tree()
    assert [str(path.relative_to(ROOT)) for path in named if not path.exists()] == []
    missing = sorted(str(path.relative_to(package)) for path in [*modules, *packages] if path not in named)
    assert missing == [], "docs/architecture.md has to name them"
