"""Which folder a model's name means, and what a folder is called."""

from __future__ import annotations

from pathlib import Path, PurePath

from seesay.assets import packaged_models
from seesay.errors import BundleError, did_you_mean


def find_bundle(path_or_name: str | Path | None) -> Path:
    """The folder that a path, a packaged model's name, or None (the default model) means.

    Raises:
        BundleError: neither a folder nor a packaged name.
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
    """A path's last part; of a run's bundle, which is always called `bundle`, the run's."""
    pure = PurePath(path)
    return pure.parent.name if pure.name == "bundle" and pure.parent.name else pure.name
