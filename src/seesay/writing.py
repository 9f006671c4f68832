"""Atomic writes: readers of a file, also after a crash, find the old or the new content, never a part."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from seesay.errors import BusyError, SeesayError

if TYPE_CHECKING:
    from PIL import Image

STANDARD_OUTPUT = Path("-")
SCRATCH = ".new-"  # what the names of unfinished files begin with


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A scratch file beside `path`, with its suffix, that takes its place when the block ends well.

    Links are followed. What cannot be replaced, such as a pipe or /dev/stdout, gets the content at the end instead.

    Raises:
        SeesayError: the file cannot be written, because of a full disk for example; the text names it.
    """
    if is_stream(path):
        from tempfile import TemporaryDirectory  # loads hashlib, which --help does without

        with TemporaryDirectory() as folder:
            scratch = Path(folder, f"out{path.suffix}")
            yield scratch
            with naming(path), scratch.open("rb") as source, _appended(path) as target:
                shutil.copyfileobj(source, target)
        return
    target = path.resolve()
    scratch = target.with_name(f"{SCRATCH}{os.urandom(4).hex()}{target.suffix}")
    try:
        with naming(path, scratch):
            yield scratch
            if target.exists():
                shutil.copymode(target, scratch)
            scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Whether `path` is a pipe, a device or an open descriptor: it can be written to, but not replaced."""
    if path in (Path("/dev/stdout"), Path("/dev/stderr")) or path.parent in (Path("/dev/fd"), Path("/proc/self/fd")):
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def _appended(path: Path) -> BinaryIO:
    descriptor = {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path))
    if descriptor is None:
        return path.open("ab")
    sys.stdout.flush()
    return os.fdopen(os.dup(descriptor), "wb")  # opened anew, a file would be written from its start


@contextmanager
def naming(path: Path, scratch: Path | None = None) -> Iterator[None]:
    """Turn an error of the system about writing `path` (or the scratch file in its place) into one that names it.

    Raises:
        SeesayError: instead of an OSError of the system that has no file name, or one of these two.
    """
    try:
        yield
    except OSError as error:
        if (
            isinstance(error, BrokenPipeError)
            or error.errno is None
            or error.filename not in (None, str(path), str(scratch))
        ):
            raise
        raise SeesayError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def only_writer(lock: Path, busy: str) -> Iterator[Callable[[], bool]]:
    """Hold a lock file, which is removed at the end. A process that dies lets go of it, however it dies.

    Args:
        lock: the file; its folder exists.
        busy: what to say when another process holds it.

    Yields:
        A function that tells whether the file is still there: nobody deleted its folder, or made it anew.

    Raises:
        BusyError: another process holds it.
        SeesayError: the lock file cannot be made.
    """
    from filelock import FileLock, Timeout  # here, as most commands need no lock and start more quickly without

    held = FileLock(lock, timeout=0)
    try:
        with naming(lock):
            held.acquire()
    except Timeout:
        raise BusyError(busy) from None
    except NotImplementedError:  # a file system without locks
        yield lock.parent.is_dir
        return
    ours = lock.stat()  # its number cannot be given to another file while the lock holds it open

    def still_there() -> bool:
        try:
            return os.path.samestat(lock.stat(), ours)
        except FileNotFoundError:
            return False

    try:
        yield still_there
    finally:
        with suppress(OSError):  # before it is let go, so that nobody else's is removed; Windows removes no open file
            lock.unlink()
        held.release()


def write_json(path: Path, value: Any) -> None:
    """Readable JSON with a newline at its end; a file name that is not text is written as JSON escapes it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str, errors: str = "backslashreplace") -> None:
    """Text in UTF-8, whole or not at all. File names in it need not be text: `errors` is as for `str.encode`."""
    with written_whole(path) as scratch:
        scratch.write_bytes(text.encode("utf-8", errors))


def write_image(path: Path, image: Image.Image) -> None:
    """A picture in the format that the suffix names, whole or not at all."""
    from PIL import Image

    data = io.BytesIO()  # Pillow's own errors do not say that the disk is full
    image.save(data, Image.registered_extensions()[path.suffix.lower()])
    with written_whole(path) as scratch:
        scratch.write_bytes(data.getvalue())
