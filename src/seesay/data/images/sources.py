"""Kinds of photo sources: a path, bytes, a file object, a PIL image, an array or a tensor."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from PIL import Image

from seesay.errors import PhotoError

MAX_BYTES = 2**30  # of one file: more than the largest picture takes without any compression
KINDS = "a path, the bytes of a file, a file object, a PIL image, an array or a tensor"
KINDS_OF_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")


@runtime_checkable
class File(Protocol):
    """A file object that was opened in binary mode."""

    def read(self, size: int = ..., /) -> bytes:
        """Read at most `size` bytes, or everything."""
        ...


@runtime_checkable
class Tensor(Protocol):
    """A torch tensor; torch need not be installed."""

    def detach(self) -> Any:
        """The tensor without its gradient history."""
        ...

    def cpu(self) -> Any:
        """The tensor in main memory."""
        ...


Bytes = bytes | bytearray | memoryview


@runtime_checkable
class HasPicture(Protocol):
    """A photo that is open already, such as the result of `CaptionModel.encode`."""

    @property
    def picture(self) -> Image.Image:
        """Upright, RGB."""
        ...


Photo = TypeVar("Photo")  # an ImageSource, or an object in its place
ImageSource = str | os.PathLike[str] | Bytes | File | Image.Image | np.ndarray | Tensor


def as_photos(images: Iterable[Photo]) -> Iterator[Photo]:
    """An iterator over photos.

    Raises:
        TypeError: it is a single photo, which would be iterated as characters, bytes, lines or
            rows.
    """
    shape = tuple(getattr(images, "shape", ()))
    expected = "images: expected several photos, such as a list, got"
    with_channels = len(shape) == 3 and (shape[0] in (1, 3, 4) or shape[2] in (1, 3, 4))
    one_array = len(shape) in (1, 2) or with_channels
    if one_array or isinstance(images, str | os.PathLike | Bytes | File | Image.Image):
        named = isinstance(images, str | os.PathLike)
        what = repr(images) if named else f"one {type(images).__name__}"
        raise TypeError(f"{expected} {what}: put it into a list, [photo]")
    try:
        return iter(images)
    except TypeError:
        raise TypeError(f"{expected} {type(images).__name__}") from None


def name_of(source: ImageSource) -> str | None:
    """The path of a photo that is a file, else None."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    name = getattr(source, "name", None) if isinstance(source, File) else None
    return name if isinstance(name, str) else None


def described(source: ImageSource) -> str | None:
    """The name of a photo in errors; None for arrays, whose errors describe them."""
    if isinstance(source, Bytes):
        return "the bytes given"
    if isinstance(source, Image.Image):
        return "the image given"
    name = name_of(source)
    return "the file given" if name is None and isinstance(source, File) else name


def opened(source: str | os.PathLike[str] | Bytes | File) -> IO[bytes]:
    """The photo's bytes as a file.

    Raises:
        PhotoError: the path is not a regular file, or the file is too large.
        OSError: it cannot be read.
    """
    if isinstance(source, Bytes):
        return io.BytesIO(bytes(source))
    if isinstance(source, File):
        return io.BytesIO(read_whole(source))
    name = os.fsdecode(source)
    _refuse_other_kinds(name)
    try:
        return Path(name).open("rb")
    except FileNotFoundError:
        raise PhotoError(f"no such file{hint(name)}") from None


def _refuse_other_kinds(name: str) -> None:
    """Raise PhotoError for anything but a regular file before opening it: a pipe would block."""
    if not name:
        raise PhotoError(f"no such file{hint(name)}")
    try:
        status = os.stat(name)  # noqa: PTH116
    except OSError:
        return  # opening it says why
    for is_kind, kind in KINDS_OF_FILES:
        if is_kind(status.st_mode):
            raise PhotoError(f"{kind}, not a photo")
    if status.st_size > MAX_BYTES:
        raise PhotoError(f"a file of {status.st_size:,} bytes: a photo has at most {MAX_BYTES:,}")


def read_whole(file: File) -> bytes:
    """All bytes of a file object, from its start if it can seek.

    Raises:
        PhotoError: it is closed, opened as text or for writing, or too large.
    """
    if getattr(file, "closed", False):
        raise PhotoError("the file is closed")
    if isinstance(file, io.BytesIO):
        return file.getvalue()
    if not getattr(file, "readable", lambda: True)():
        raise PhotoError("a file that was not opened for reading")
    if (seek := getattr(file, "seek", None)) and getattr(file, "seekable", lambda: False)():
        seek(0)
    data = file.read(MAX_BYTES + 1)
    if isinstance(data, str):
        raise PhotoError('a file opened as text: open it with mode "rb"')
    if len(data) > MAX_BYTES:
        raise PhotoError(f"more than {MAX_BYTES:,} bytes: no photo is that large")
    return data


def hint(name: str) -> str:
    """A guess, in brackets, why there is no file of this name; "" if there is none."""
    if not name:
        return " (an empty name)"
    if URL.match(name):
        return " (a URL is not a file, and nothing is fetched: download it first)"
    if name.startswith("~"):
        return " (~ means the home folder only outside quotes)"
    if any(character in name for character in "*?["):
        return " (the shell expands a pattern only outside quotes, and if a file matches it)"
    return ""


def array_of(source: np.ndarray | Tensor) -> np.ndarray:
    """The array, or the tensor as an array with its channels last."""
    if not isinstance(source, Tensor):
        return np.asarray(source)
    tensor = source.detach().cpu()
    if "bfloat16" in str(tensor.dtype):  # numpy has none
        tensor = tensor.float()
    array = np.asarray(tensor)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):  # (channels, H, W), as torch has photos
        array = np.moveaxis(array, 0, -1)
    return array


def from_array(array: np.ndarray) -> Image.Image:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as an 8-bit PIL image.

    Raises:
        PhotoError: another shape, or values out of range.
    """
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not shape_ok or 0 in array.shape:
        expected = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        raise PhotoError(f"array of shape {array.shape}: expected {expected}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # NaN is neither
            what = f"array of {array.dtype} from {low:g} to {high:g}"
            raise PhotoError(f"{what}: floats are expected to lie in 0..1")
        array = np.rint(array * 255).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.unsignedinteger):
        array = low_byte(array) if array.max() <= 255 else high_byte(array)
    else:
        expected = "unsigned integers, bool, or floats in 0..1"
        raise PhotoError(f"array of {array.dtype}: expected {expected}")
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def low_byte(array: np.ndarray) -> np.ndarray:
    """8-bit values in a wider type, as uint8."""
    return array.astype(np.uint8)


def high_byte(array: np.ndarray) -> np.ndarray:
    """Unsigned integers that use their full range, as uint8, as Pillow converts 16-bit colour."""
    return (array >> (8 * (array.dtype.itemsize - 1))).astype(np.uint8)
