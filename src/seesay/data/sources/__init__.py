"""Sources of photos to caption: files, folders, lists, manifests, tars, tables and addresses.

`Sources` lists the photos of everything that a user can name, one by one and without opening them.
Whoever captions a photo opens it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from seesay.data.images import File
from seesay.data.sources.columns import ManifestColumns
from seesay.data.sources.photo import ListedPhoto, Unreadable, opened_at, place_of
from seesay.data.sources.shard import Shard
from seesay.errors import DataError

Name = str | os.PathLike[str]
JSON_LINES = (".jsonl", ".ndjson")
TABLES = (".parquet",)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

__all__ = ["ListedPhoto", "ManifestColumns", "Shard", "Sources", "Unreadable", "opened_at", "place_of", "places"]


class Sources:
    """The photos of some sources, or of one shard of them; each iteration lists them again.

    Memory does not grow with the number of photos.

    Args:
        names: photos, folders, `@list` files, manifests (.jsonl, .parquet), tars, tables of photos;
            paths, or addresses that fsspec opens.
        pipes: open files, by the name that stands for each in `names`.
        shard: list only the photos of this shard.
        columns: the columns of manifests that hold the photo and its id.

    Attributes:
        passed_over: the number of pictures in formats that are not read here, by format; complete
            after an iteration.
        listed: the number of photos that the last iteration found, in all shards.
    """

    def __init__(
        self,
        names: Iterable[Name],
        pipes: Mapping[str, File] | None = None,
        shard: Shard | None = None,
        columns: ManifestColumns | None = None,
    ) -> None:
        self.names = [os.fspath(name) for name in names]
        self.pipes, self.shard, self.columns = pipes or {}, shard, columns or ManifestColumns()
        self.passed_over: Counter[str] = Counter()
        self.listed = 0

    def __iter__(self) -> Iterator[ListedPhoto]:
        """Yield photos while the sources are still being listed.

        Raises:
            DataError: there are no photos at all, or a manifest cannot be read.
            MissingExtraError: the package that reads such a source is not installed.
        """
        self.passed_over.clear()
        self.listed = 0
        for photo in self._all():
            self.listed += 1
            if self.shard is None or self.shard.holds(photo.id):
                yield photo
        if not self.listed:
            from seesay.data.images import passed_over_note

            note = passed_over_note(self.passed_over)
            raise DataError(f"no photos found in {', '.join(self.names)}{note and f'; {note}'}")

    def count(self) -> int | None:
        """The number of photos, or None if counting would read standard input or ask a server."""
        from seesay.data.sources.remote import is_address

        if any(name == "@-" or is_address(name) for name in self.names):
            return None
        if self.shard is None and len(self.names) == 1 and self.names[0].lower().endswith(TABLES):
            from seesay.data.sources.tables import rows_in_table

            return rows_in_table(self.names[0])
        try:
            return sum(1 for _ in Sources(self.names, self.pipes, self.shard, self.columns))
        except DataError:
            return None

    def reads(self, path: Path) -> bool:
        """Whether an existing file is a source, or may be a photo of a source."""
        from seesay.data.images import photo_suffixes

        target = path.resolve()
        for name in self.names:
            source = Path(name.removeprefix("@") if self._lists(name) else name)
            if source.resolve() == target:
                return True
            if target.suffix.lower() in photo_suffixes() and target.exists():
                if source.is_dir() and source.resolve() in target.parents:
                    return True
                if self._lists(name) or name.lower().endswith(JSON_LINES + TABLES):
                    return True  # it may be listed; only reading the whole list would tell
        return False

    def _all(self) -> Iterator[ListedPhoto]:
        plain = [name for name in self.names if self._lister(name) is None]
        none_there: DataError | None = None
        if plain:
            try:
                yield from self._files(plain)
            except DataError as error:
                if len(plain) == len(self.names):
                    raise
                none_there = error  # raised after the other sources have been listed
        for name in self.names:
            if lister := self._lister(name):
                yield from lister()
        if none_there:
            raise none_there

    def _files(self, names: list[str]) -> Iterator[ListedPhoto]:
        """Photos that are named, or that are in folders."""
        from seesay.data import images

        folder = f"{Path(names[0])}{os.sep}" if len(self.names) == 1 and Path(names[0]).is_dir() else ""
        for path in images.find_photos(names, self.passed_over, self.pipes):
            photo = os.fspath(path)
            id_ = photo.removeprefix(folder).replace(os.sep, "/")
            yield ListedPhoto(id_, photo, self.pipes[photo]) if photo in self.pipes else ListedPhoto(id_, photo, photo)

    def _lists(self, name: str) -> bool:
        return name.startswith("@") and len(name) > 1 and not os.path.exists(name)  # noqa: PTH110

    def _lister(self, name: str) -> Callable[[], Iterator[ListedPhoto]] | None:
        """The function that lists a source; None for photo files and folders."""
        if name in self.pipes:
            return None
        if self._lists(name):
            from seesay.data.sources.lists import photos_listed

            return partial(photos_listed, name)
        lower = name.lower()
        special = lower.endswith(JSON_LINES + TABLES + TARS)
        if "://" in name:
            from seesay.data.sources.remote import is_address, is_web

            if is_address(name) and (not is_web(name) or lower.endswith(JSON_LINES + TABLES)):
                return partial(self._at, name)
            return None
        return partial(self._inside, name) if special and os.path.isfile(name) else None  # noqa: PTH113

    def _at(self, address: str) -> Iterator[ListedPhoto]:
        """The photos of an address, which may be a pattern."""
        from seesay.data.sources.remote import matching, photos_at

        if not address.lower().endswith(JSON_LINES + TABLES + TARS):
            yield from photos_at(address, self.passed_over)
            return
        for found, label in matching(address):
            yield from self._inside(found, label)

    def _inside(self, file: str, label: str = "") -> Iterator[ListedPhoto]:
        """The photos of a manifest, a table or a tar; `label` is the file's name in ids."""
        lower, label = file.lower(), label or self._label(file)
        if lower.endswith(JSON_LINES):
            from seesay.data.sources.lists import photos_in_json_lines

            yield from photos_in_json_lines(file, self.columns)
        elif lower.endswith(TABLES):
            from seesay.data.sources.tables import photos_in_table

            yield from photos_in_table(file, label, self.columns)
        else:
            from seesay.data.sources.tars import photos_in_tar

            yield from photos_in_tar(file, label, self.passed_over)

    def _label(self, file: str) -> str:
        """A file's name in ids: without its folder, unless two sources share it."""
        label = Path(file).name
        same = [name for name in self.names if Path(name).name == label]
        return label if len(same) == 1 else file.replace(os.sep, "/")


def places() -> dict[str, type]:
    """The kinds of sources that another process can open, for `place_of` and `opened_at`."""
    from seesay.data.sources.remote import RemotePhoto
    from seesay.data.sources.tables import ParquetPhoto
    from seesay.data.sources.tars import TarMember

    return {kind.__name__: kind for kind in (Unreadable, RemotePhoto, ParquetPhoto, TarMember)}
