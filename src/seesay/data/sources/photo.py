"""ListedPhoto: a reference to one photo of a source, which is opened when it is captioned."""

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
        id: identifies the photo wherever the source is stored: its path below the source, or the id
            in the manifest. It decides the photo's shard.
        image: the photo's path, address or other name, for output.
        source: what is opened to read the photo: a path, or an object with `read`.
        own_id: whether the id is from a manifest. `--resume` then compares ids only, not `image`.
    """

    id: str
    image: str
    source: ImageSource
    own_id: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a photo that a source lists but that cannot be read.

    Attributes:
        name: the photo's name.
        reason: what is wrong, in one line.
    """

    name: str
    reason: str

    def read(self, size: int = -1) -> bytes:
        """Raise PhotoError with the reason."""
        raise PhotoError(self.reason, self.name)


def unreadable(id_: str, image: str, reason: str, own_id: bool = False) -> ListedPhoto:
    """A listed photo that raises PhotoError with this reason when it is read."""
    return ListedPhoto(id_, image, Unreadable(image, reason), own_id)


def place_of(photo: ListedPhoto, kinds: Mapping[str, type]) -> str:
    """Describe where a photo is as JSON, so that another process can open it with `opened_at`.

    Args:
        photo: a photo whose source is a path or an instance of one of these kinds.
        kinds: dataclasses by name, from `seesay.data.sources.places`.

    Raises:
        PhotoError: the source is of another kind, such as a pipe.
    """
    source: Any = photo.source
    kind = type(source).__name__
    if kinds.get(kind) is type(source):
        return json.dumps([kind, *astuple(source)])
    if not isinstance(source, str):
        raise PhotoError("only this process can open it: give a file or an address", photo.image)
    return json.dumps(["path", source])


def opened_at(place: str, kinds: Mapping[str, type]) -> ImageSource:
    """The source of a photo from the JSON that `place_of` returned."""
    kind, *fields = json.loads(place)
    return kinds[kind](*fields) if kind in kinds else fields[0]
