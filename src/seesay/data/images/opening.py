"""Opening any photo as an upright RGB image, or an error that says why it cannot be opened."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from PIL import Image, ImageFile

from seesay.data.images import jpeg, tiff
from seesay.data.images.formats import (
    NEEDS_HEIF,
    formats_by_signature,
    heif_installed,
    opener,
    photo_formats,
    what_it_is,
)
from seesay.data.images.limits import CountedReader, alone_if_large, check_size, check_slow
from seesay.data.images.rgb import upright_rgb
from seesay.data.images.sources import (
    KINDS,
    Bytes,
    File,
    HasPicture,
    ImageSource,
    Tensor,
    array_of,
    described,
    from_array,
    opened,
)
from seesay.errors import PhotoError


def open_photo(source: ImageSource, enough: int | None = None) -> Image.Image:
    """Open any photo as a new upright RGB image without metadata.

    EXIF orientation is applied, transparency is composed onto white, 16-bit and float greys are
    scaled to 8-bit, CMYK and palettes are converted, and only the first frame of an animation is
    read. docs/photos.md lists the formats and the limits.

    Args:
        source: a path, the bytes of a file, a file object opened in binary mode, a PIL image, or an
            array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), bool, floats in 0..1, or unsigned
            integers, in their full range unless all of them are at most 255. A torch tensor may
            have its channels first.
        enough: the pixels that each side needs. A JPEG with twice as many or more is decoded at a
            half, a quarter or an eighth of its size, which is several times faster, and a very
            large picture of another format is averaged down. None: full size.

    Returns:
        The image; `info["warning"]` describes the damage of a damaged photo that could be read.

    Raises:
        PhotoError: it does not exist, is not a picture, is damaged, or is too large to be decoded
            safely.
    """
    with photo_errors(described(source)):
        if isinstance(source, Image.Image):
            return _from_image(source, enough)
        if isinstance(source, str | os.PathLike | Bytes | File):
            with opened(source) as file:
                return _from_file(file, enough)
        if isinstance(source, Tensor) or hasattr(source, "__array__"):
            return _from_image(from_array(array_of(source)), enough)
        raise PhotoError(f"a {type(source).__name__}: expected {KINDS}")


def picture_of(photo: ImageSource | HasPicture) -> Image.Image:
    """The upright RGB picture of a photo: opened at full size unless it is open already.

    Raises:
        PhotoError: as `open_photo`.
    """
    return photo.picture if isinstance(photo, HasPicture) else open_photo(photo)


def photo_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a photo's file.

    Raises:
        PhotoError: it is not a regular file, is too large, or cannot be read.
    """
    with photo_errors(os.fspath(path)), opened(path) as file:
        return file.read()


@contextmanager
def photo_errors(photo: str | None) -> Iterator[None]:
    """Turn every exception inside the block into a PhotoError about this photo.

    Args:
        photo: the photo's path or another name.
    """
    try:
        yield
    except PhotoError as error:
        raise PhotoError(error.reason, error.photo or photo) from None
    except PermissionError:
        raise PhotoError("no permission to read it", photo) from None
    except MemoryError:
        raise PhotoError("too large for this machine's memory", photo) from None
    except Exception as error:  # on damage decoders raise OSError, SyntaxError, struct.error, ...
        if isinstance(error, OSError) and error.errno is not None:  # raised by the system, not by a decoder
            raise PhotoError(f"cannot be read ({error.strerror})", photo) from None
        text = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(f"damaged, cannot be decoded ({text})", photo) from None


def _from_image(image: Image.Image, enough: int | None) -> Image.Image:
    check_size(image.size)
    try:
        return _pixels(image, enough, image.size)
    except (ValueError, AssertionError, AttributeError) as error:
        if "closed image" in str(error):
            raise PhotoError("it was closed: its pixels are gone") from None
        if "closed" not in str(error) and getattr(image, "fp", image) is not None:
            raise
        what = "its file was closed before its pixels were read"
        raise PhotoError(f"{what}: call its load() first, or give the path") from None


def _from_file(file: IO[bytes], enough: int | None) -> Image.Image:
    start = file.read(16)
    file.seek(0)
    if start.startswith(jpeg.START):
        return _from_jpeg(file, enough)
    image = _identified(file, start)
    return _pixels(image, enough, image.size)


def _from_jpeg(file: IO[bytes], enough: int | None) -> Image.Image:
    try:
        return _jpeg_pixels(file, enough)
    except OSError as error:
        if "truncated" not in str(error):
            raise
    file.seek(0)
    return _jpeg_pixels(io.BytesIO(file.read() + jpeg.END), enough, cut_short=True)


def _jpeg_pixels(file: IO[bytes], enough: int | None, cut_short: bool = False) -> Image.Image:
    image = _identified(file, jpeg.START)
    whole = image.size
    jpeg.check_scans(file, whole)
    if enough is not None:
        image.draft(None, (enough, enough))
    # libjpeg holds all of a progressive JPEG, whatever the size that it is asked for
    in_memory = whole if image.info.get("progressive") else image.size
    return _pixels(image, enough, in_memory, cut_short)


def _pixels(
    image: Image.Image,
    enough: int | None,
    in_memory: tuple[int, int],
    cut_short: bool = False,
) -> Image.Image:
    with alone_if_large(in_memory):
        image.load()
        warning = jpeg.what_is_missing(image) if cut_short else None
        photo = upright_rgb(image, enough)
    if warning:
        photo.info["warning"] = warning
    return photo


def _identified(file: IO[bytes], start: bytes) -> ImageFile.ImageFile:
    """Like `Image.open`, for the formats of photos, without its warning about large pictures.

    A warning could only be silenced for all threads.
    """
    if not start:
        raise PhotoError("an empty file")
    looks_like = ""
    for name in formats_by_signature(start):
        if name == "HEIF" and not heif_installed():
            raise PhotoError(f"a HEIC picture, which needs pillow-heif: {NEEDS_HEIF}")
        if name == "TIFF":
            tiff.silence()
            tiff.check_layout(file)
        try:
            image = opener(name)(cast(IO[bytes], CountedReader(file)), "")
        except (SyntaxError, IndexError, TypeError, RuntimeError, struct.error):
            looks_like = name
            file.seek(0)
            continue
        check_size(image.size)
        check_slow(image, file)
        return image
    if looks_like:
        raise PhotoError(f"a damaged {looks_like} file, or not a picture of any format known here")
    what = f", but {what_it_is(start)}" if what_it_is(start) else ""
    formats = ", ".join(photo_formats())
    raise PhotoError(f"not a picture of any format known here{what}; {formats} are read")
