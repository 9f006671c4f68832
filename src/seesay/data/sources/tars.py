"""Photos inside tars such as WebDataset's: listed by their headers and read in place."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from seesay.data.images.find import is_photo_name
from seesay.data.images.formats import picture_kind
from seesay.data.images.sources import MAX_BYTES
from seesay.data.sources.photo import ListedPhoto, unreadable
from seesay.data.sources.remote import SMALL_READ, fetching, open_file
from seesay.errors import PhotoError

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
LEADS_OUT = "its name leads out of the tar"


@dataclass(frozen=True, slots=True)
class TarMember:
    """A photo inside an uncompressed tar.

    Attributes:
        name: the names of the tar and the member, for messages.
        tar: the tar's path or address.
        start, size: the offset and the number of the photo's bytes in the tar.
    """

    name: str
    tar: str
    start: int
    size: int

    def read(self, size: int = -1) -> bytes:
        """The photo's bytes. Raises PhotoError if the tar cannot be read or ends too early."""
        with fetching(self.name), open_file(self.tar) as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) < self.size:
            raise PhotoError(f"the tar ends within it: {len(data):,} of {self.size:,} bytes", self.name)
        return data


def photos_in_tar(tar: str, label: str, passed_over: Counter[str]) -> Iterator[ListedPhoto]:
    """The photos of a tar, in order; a damaged tar or member is listed as an unreadable photo.

    Args:
        tar: the tar's path or address.
        label: the tar's name in ids.
        passed_over: counts pictures in formats that are not read here.
    """
    if tar.lower().endswith(COMPRESSED):
        reason = "a compressed tar, whose photos cannot be read one by one: decompress it"
        yield unreadable(label, tar, reason)
        return
    names: set[str] = set()
    try:
        with fetching(tar), open_file(tar, SMALL_READ) as file, tarfile.open(fileobj=file, mode="r:") as members:
            while member := members.next():
                members.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header in memory
                yield from _member(tar, label, member, names, passed_over)
    except PhotoError as error:
        what = error.reason.removeprefix("cannot be read (").removesuffix(")")
        reason = f"damaged or no tar, read up to there ({what})" if what != error.reason else what
        yield unreadable(label, tar, reason)


def _member(
    tar: str, label: str, member: tarfile.TarInfo, names: set[str], passed_over: Counter[str]
) -> Iterator[ListedPhoto]:
    path = member.name.removeprefix("./")
    name = path.rpartition("/")[2]
    if name.startswith(".") or member.isdir():
        return
    if kind := picture_kind(f".{name.rpartition('.')[2].lower()}"):
        passed_over[kind] += 1
        return
    if not is_photo_name(name):
        return
    id_, image = f"{label}/{path}", f"{tar}/{path}"
    reasons = {
        LEADS_OUT: path.startswith("/") or ".." in path.split("/"),
        "a link or a device, not a photo": not member.isreg(),
        "stored with holes, which is not read here": member.issparse(),
        f"{member.size:,} bytes: a photo has at most {MAX_BYTES:,}": member.size > MAX_BYTES,
        "the tar has an earlier member of this name": path in names,
    }
    names.add(path)
    reason = next((reason for reason, applies in reasons.items() if applies), None)
    if reason:
        yield unreadable(id_, image, reason)
    else:
        yield ListedPhoto(id_, image, TarMember(image, tar, member.offset_data, member.size))
