"""Names of models -> folders of bundles, and folders -> short names."""

from __future__ import annotations

from pathlib import Path, PurePath

from seesay.assets import packaged_models
from seesay.errors import BundleError, did_you_mean


def find_bundle(path_or_name: str | Path | None) -> Path:
    """The folder of a bundle, given a path, a packaged model's name, or None for the default.

    Raises:
        BundleError: there is no such folder or packaged model.
    """
    models = packaged_models()
    if path_or_name is None:
        if not models:
            raise BundleError("no model is packaged with this installation: name a bundle's folder")
        return next(iter(models.values()))
    path = Path(path_or_name)
    if path.is_dir():
        return path
    if str(path_or_name) in models:
        return models[str(path_or_name)]
    near = did_you_mean(str(path_or_name), models)
    known = ", ".join(models) or "none is packaged"
    raise BundleError(f"model {path_or_name}: no such folder, nor a packaged model ({known}).{near}")


def short_name(path: str) -> str:
    """The last part of a path; for the folder `bundle` of a run, the name of the run."""
    pure = PurePath(path)
    return pure.parent.name if pure.name == "bundle" and pure.parent.name else pure.name
