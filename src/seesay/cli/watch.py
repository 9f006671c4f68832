"""`seesay watch`: captions the photos that come into folders."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seesay.cli.caption import CaptionOptions, loaded_once, made_by, open_writers, write_all
from seesay.cli.writable import refuse_unwritable
from seesay.data.sources import ListedPhoto, Sources
from seesay.errors import DataError
from seesay.outputs import Job
from seesay.outputs.alt_text import AltText

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
    options = replace(options, resume=True)
    captioner = loaded_once(options)
    job = Job(attention=options.attention, resume=True, made_by=lambda: made_by(captioner(), options))
    for stop in (signal.SIGTERM, signal.SIGINT):  # services are stopped by the first, and scripts may ignore the second
        signal.signal(stop, signal.default_int_handler)
    with open_writers(options, job, captioner) as writers:
        arrivals = Arrivals(sources)
        for writer in writers:
            if isinstance(writer, AltText):
                writer.wrote = arrivals.note
        try:
            while True:
                for photo in (photos := arrivals.look()):
                    if arrivals.again(photo):
                        for writer in writers:
                            writer.done.discard(photo.image)
                if photos:
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
        self._before: dict[Path, Signature] = {}  # the photos as they were at the last look
        self._handed: dict[Path, Signature] = {}  # as they were when they were handed over, or when we wrote to them
        self._again: set[Path] = set()

    def look(self) -> list[ListedPhoto]:
        """The photos that have stayed as they are since the last look, and were not handed over like that before."""
        now: dict[Path, Signature] = {}
        ready: dict[Path, ListedPhoto] = {}
        for photo in self._listed():
            file = Path(photo.image)
            if signature := signature_of(file):
                now[file] = signature
                if self._before.get(file) == signature != self._handed.get(file):
                    ready[file] = photo
        self._before = now
        self._again = ready.keys() & self._handed.keys()
        self._handed |= {file: now[file] for file in ready}
        return list(ready.values())

    def again(self, photo: ListedPhoto) -> bool:
        """Whether a photo of the last look was handed over before, and has changed since."""
        return Path(photo.image) in self._again

    def note(self, file: Path) -> None:
        """Take note that a photo is as we have written it."""
        if signature := signature_of(file):
            self._handed[file] = signature

    def _listed(self) -> list[ListedPhoto]:
        try:
            return list(self.sources)
        except (DataError, OSError):  # no photos, or the folder is not there just now
            return []


def signature_of(file: Path) -> Signature | None:
    """What changes with a file; None if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
