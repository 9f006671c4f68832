"""ListedPhoto: one photo of a source, by reference, so that whoever captions it opens it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from seesay.errors import PhotoError

if TYPE_CHECKING:
    from seesay.data.images import ImageSource


@dataclass(frozen=True, slots=True)
class ListedPhoto:
    """A photo that a source lists.

    Attributes:
        id: what identifies it wherever the source lies: its path below the source, or the manifest's
            id. Shards are made by it.
        image: its path, address or other name, for output.
        source: what opens it: a path, or an object with `read`.
        own_id: whether the id is the manifest's own, so that it alone says what is done already.
    """

    id: str
    image: str
    source: ImageSource
    own_id: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a photo that a source lists but that cannot be read.

    Attributes:
        name: of the photo.
        reason: what is wrong, one line.
    """

    name: str
    reason: str

    def read(self, size: int = -1) -> bytes:
        """Raise PhotoError with the reason."""
        raise PhotoError(self.reason, self.name)


def unreadable(id_: str, image: str, reason: str, own_id: bool = False) -> ListedPhoto:
    """A listed photo whose reading fails with this reason."""
    return ListedPhoto(id_, image, Unreadable(image, reason), own_id)


def place_of(photo: ListedPhoto, kinds: Mapping[str, type]) -> str:
    """Where a photo is, as JSON, for another process to open it with `opened_at`.

    Args:
        photo: its source is a path, or of one of these kinds.
        kinds: dataclasses by name, such as `seesay.data.sources.PLACES`.

    Raises:
        PhotoError: it is of no such kind, such as a pipe.
    """
    source: Any = photo.source
    kind = type(source).__name__
    if kinds.get(kind) is type(source):
        return json.dumps([kind, *astuple(source)])
    if not isinstance(source, str):
        raise PhotoError("only this process can open it: give a file or an address", photo.image)
    return json.dumps(["path", source])


def opened_at(place: str, kinds: Mapping[str, type]) -> ImageSource:
    """The source of a photo from what `place_of` returned."""
    kind, *fields = json.loads(place)
    return kinds[kind](*fields) if kind in kinds else fields[0]
