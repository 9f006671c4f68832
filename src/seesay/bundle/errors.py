"""The wording of errors about the files of a bundle."""

from __future__ import annotations

from pathlib import Path

from seesay.errors import BundleError, printable


def refused(path: Path, what: str) -> BundleError:
    """The error for a wrong value in a file of a bundle."""
    return BundleError(f"bundle {printable(path.parent)}: {path.name}: {printable(what)}")


def damaged(path: Path, what: str) -> BundleError:
    """The error for a file that cannot be parsed."""
    return BundleError(f"bundle {printable(path.parent)}: {path.name} is damaged: {printable(what)}")


def cannot_run(path: Path, why: str) -> BundleError:
    """The error for a file that is not an ONNX graph, or that ONNX Runtime cannot load."""
    return BundleError(f"bundle {printable(path.parent)}: {path.name} cannot be run: {printable(why)}")
