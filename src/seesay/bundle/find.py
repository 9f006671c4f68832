"""Which folder a model's name means."""

from __future__ import annotations

from pathlib import Path

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
