"""`seesay watch`: captions the photos that come into folders."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.cli.caption import CaptionOptions, load_captioner, made_by, open_writers, write_all
from seesay.cli.writable import refuse_unwritable
from seesay.data.sources import ListedPhoto, Sources
from seesay.errors import DataError
from seesay.outputs import Job

if TYPE_CHECKING:
    from seesay.runtime import CaptionModel

Signature = tuple[int, int]  # time of the last change, size


def watch_folders(folders: Sequence[Path], options: CaptionOptions, every: float) -> None:
    """Caption the photos in folders, and those that come, until Ctrl-C or SIGTERM.

    Args:
        folders: searched recursively.
        options: model, search and outputs; an existing JSON file is continued.
        every: seconds from one look at the folders to the next.

    Raises:
        BusyError: another process writes to the JSON file.
        SeesayError: a folder does not exist, an output cannot be written, or the JSON file cannot be continued.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a folder to watch")
    sources = Sources(folders)
    refuse_unwritable(*options.outputs.values(), reads=sources.reads)

    @cache
    def captioner() -> CaptionModel:
        return load_captioner(options, options.threads)

    job = Job(attention=options.attention, resume=True, made_by=lambda: made_by(captioner(), options))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how services are stopped
    with open_writers(options, job, captioner) as writers:
        arrivals = Arrivals(sources)
        try:
            while True:
                for photos in arrivals.look():
                    write_all(photos, None, options, captioner(), writers)
                time.sleep(every)
        except KeyboardInterrupt:  # the way to end it
            return


class Arrivals:
    """Photos that are new, or changed, once nobody is writing to them any more.

    Args:
        sources: what is listed, again with each look.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._before: dict[str, Signature] | None = None  # the photos as they were at the last look
        self._done: dict[str, Signature] = {}  # as they were when they had been captioned

    def look(self) -> Iterator[list[ListedPhoto]]:
        """Yield the photos that are to be captioned now, if there are any.

        At the first look these are all; later on those that have stayed as they are from one look to the next.
        """
        now: dict[str, Signature] = {}
        ready: list[ListedPhoto] = []
        for photo in self._listed():
            signature = signature_of(photo)
            if signature is None:
                continue
            now[photo.image] = signature
            settled = self._before is None or self._before.get(photo.image) == signature
            if settled and self._done.get(photo.image) != signature:
                ready.append(photo)
        self._before = now
        if ready:
            yield ready
        captioned = {photo.image: signature for photo in ready if (signature := signature_of(photo))}  # by us, too
        self._done = {name: signature for name, signature in self._done.items() if name in now} | captioned

    def _listed(self) -> list[ListedPhoto]:
        try:
            return list(self.sources)
        except (DataError, OSError):  # no photos, or the folder is not there just now
            return []


def signature_of(photo: ListedPhoto) -> Signature | None:
    """What changes with a photo's file; None if the file is gone."""
    try:
        status = Path(photo.image).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
