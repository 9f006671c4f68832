"""Which columns of a manifest hold the photo and its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seesay.errors import DataError, did_you_mean, printable

PHOTO = ("path", "image", "file_name", "filename", "file", "image_name", "image_file", "image_path")
PHOTO += ("filepath", "file_path", "img", "img_path", "photo", "jpg", "url", "uri", "bytes")
ID = ("id", "key", "__key__", "uid", "image_id", "img_id", "photo_id")
ROLES = ("image", "id")


@dataclass(frozen=True)
class ManifestColumns:
    """Column names; None where a column is guessed or does not exist.

    Attributes:
        image: the column of paths, addresses, or photos as bytes.
        id: the column of the photos' ids.
    """

    image: str | None = None
    id: str | None = None

    @classmethod
    def parse(cls, text: str) -> ManifestColumns:
        """Parse "image=pic,id=key". Raises ValueError for any other form."""
        chosen: dict[str, str] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            role, _, name = (each.strip() for each in part.partition("="))
            if role not in ROLES or not name:
                raise ValueError(f"{part!r}: expected image=COLUMN or id=COLUMN.{did_you_mean(role, ROLES)}")
            chosen[role] = name
        return cls(chosen.get("image"), chosen.get("id"))

    def among(self, header: Sequence[str], where: str) -> ManifestColumns:
        """The columns of a table with this header.

        Raises:
            DataError: there is no column of photos, or a named column is missing.
        """
        known = {name.strip().lower(): name for name in reversed(header)}
        columns = ", ".join(map(printable, header)) or "none"
        for role, name in (("image", self.image), ("id", self.id)):
            if name and name.lower() not in known:
                near = did_you_mean(name, header)
                raise DataError(f"{where}: --columns {role}={name}: columns found: {columns}.{near}")
        image = self.image or next((name for name in PHOTO if name in known), None)
        if image is None:
            raise DataError(
                f"{where}: columns found: {columns}; expected one named path, image or file_name, "
                "or --columns image=NAME"
            )
        id_ = self.id or next((name for name in ID if name in known and name != image.lower()), None)
        return ManifestColumns(known[image.lower()], known[id_.lower()] if id_ else None)
