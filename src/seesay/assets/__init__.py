"""Files that travel with the package: the demo photos."""

from __future__ import annotations

from pathlib import Path

PHOTOS = Path(__file__).parent / "photos"


def demo_photos() -> list[Path]:
    """The packaged photos (JPEG, at most 512 px), sorted by name; all CC0 or public domain.

    `photos/sources.json` beside them gives each photo's title, author, source and licence.
    """
    return sorted(PHOTOS.glob("*.jpg"))


def packaged_models() -> dict[str, Path]:
    """The packaged model bundles by name, the default first."""
    return {folder.name: folder for folder in sorted((Path(__file__).parent / "models").glob("[!.]*/"))}
