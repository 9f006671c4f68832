"""The folder of all caches."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """$SEESAY_CACHE, else the user's cache folder."""
    override = os.environ.get("SEESAY_CACHE")
    return Path(override).expanduser() if override else user_cache_path("seesay")
