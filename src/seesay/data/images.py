"""Photos: opening any of them, and the one transform that training, evaluation and the runtime share."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageFile

from seesay.errors import DataError, PhotoError

ImageSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
Resample = Literal["bilinear", "bicubic", "lanczos"]

MAX_PIXELS = 178_956_970  # where Pillow too refuses; half a gigabyte as RGB
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_photo(source: ImageSource, enough: int | None = None) -> Image.Image:
    """Any photo as an upright RGB image of its own, without metadata.

    EXIF orientation is applied, transparency is laid on white, 16-bit and float greys are scaled to 8 bit,
    CMYK and palettes are converted; of an animation the first frame counts.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array: (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4), unsigned integers in their full range, bool, or floats in 0..1.
        enough: pixels that each side needs to have. The file of a JPEG that has twice as many or more is decoded at a
            half, a quarter or an eighth of its size, which is several times faster; None: at its full size.

    Raises:
        PhotoError: it does not exist, is no picture, is damaged, or is too large to be decoded safely.
    """
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_array(source))
    if isinstance(source, Image.Image):
        name = "the image given"
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source)
    elif isinstance(source, bytes):
        name = "the bytes given"
    else:
        raise PhotoError(f"a {type(source).__name__}: expected a path, the bytes of a file, a PIL image or an array")
    try:
        if isinstance(source, Image.Image):
            return _upright_rgb(source)
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            image = _identify(file)
            if enough is not None:
                image.draft(None, (enough, enough))  # for files of other kinds it does nothing
            return _upright_rgb(image)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise PhotoError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise PhotoError(f"{name}: a folder, not a photo") from None
    except PermissionError:
        raise PhotoError(f"{name}: no permission to read it") from None
    except MemoryError:
        raise PhotoError(f"{name}: too large for this machine's memory") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ... on damage
        raise PhotoError(f"{name}: damaged, cannot be decoded ({error})") from None


def _identify(file: IO[bytes]) -> ImageFile.ImageFile:
    """`Image.open`, but for its warning about large panoramas: a warning can be silenced for all threads only."""
    start = file.read(16)
    if not start:
        raise PhotoError("an empty file")
    for name in _formats_by_signature(start):
        try:
            file.seek(0)
            image = Image.OPEN[name][0](file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # it only looked like this format
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width:,} x {image.height:,}"
            raise PhotoError(f"too large to decode safely: {size} pixels, at most {MAX_PIXELS:,} in all")
        return image
    raise PhotoError("not a picture of any format known here")


def _formats_by_signature(start: bytes) -> Iterator[str]:
    """Formats that a file with this start may have; JPEG first, as all others cost a twentieth of a second to load."""
    Image.preinit()
    if start.startswith(b"\xff\xd8\xff"):
        yield "JPEG"
    for name in photo_formats():
        accepts = Image.OPEN[name][1]
        try:
            if accepts is None or accepts(start) is True:
                yield name
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # too short for this signature


def _from_array(array: np.ndarray) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not shape_ok or 0 in array.shape:
        raise PhotoError(f"array of shape {array.shape}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise PhotoError(f"array of {array.dtype} from {low:g} to {high:g}: floats are expected to lie in 0..1")
        array = np.rint(array * 255).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.unsignedinteger):
        array = _high_byte(array)
    else:
        raise PhotoError(f"array of {array.dtype}: expected unsigned integers, bool, or floats in 0..1")
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def _high_byte(array: np.ndarray) -> np.ndarray:
    """Unsigned integers of any width, in their full range, as uint8; Pillow reads 16-bit colour so too."""
    return (array >> (8 * (array.dtype.itemsize - 1))).astype(np.uint8)


def _upright_rgb(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise PhotoError(f"a picture of {image.width} x {image.height} pixels")
    image.load()
    upright = _rgb(image)
    upright.info = {}  # its EXIF would turn it once more
    turn = TURNS.get(_orientation(image))
    return upright if turn is None else upright.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # metadata that cannot be parsed spoils no photo
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey_to_8_bit(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit greys arrive as I;16 or as I; floats have no agreed range, so 0..1, 0..255 and 0..65535 are told apart."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_high_byte(np.asarray(image)))
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    top = values.max()
    unit = 1 if image.mode == "F" and top <= 1 else 255 if top <= 255 else 65535
    return Image.fromarray(np.rint(np.clip(values * (255 / unit), 0, 255)).astype(np.uint8))


@dataclass(frozen=True)
class ImageTransform:
    """Photo -> what the encoder reads: squashed to a square, then normalised. Stored in every bundle.

    The whole photo is kept (no crop) and its aspect is not, so a region of the grid is a rectangle of the photo
    (`seesay.caption.region_box`).

    A large JPEG is decoded at a reduced size of at least twice the square (`open_photo`): smaller ones, sides below
    four times the square, not.

    Attributes:
        size: side of the square in pixels.
        mean, std: per RGB channel, of values in 0..1; the encoder's own.
        resample: filter of the resize.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Resample = "bicubic"

    def __call__(self, source: ImageSource, helper: Executor | None = None) -> np.ndarray:
        """(3, size, size) float32, normalised. Raises PhotoError as `open_photo` does.

        Args:
            source: as of `open_photo`.
            helper: a thread without work, which resizes a part; the pixels are the same.
        """
        return self.normalise(self.pixels(source, helper))

    def pixels(self, source: ImageSource, helper: Executor | None = None) -> np.ndarray:
        """(size, size, 3) uint8: the square before normalisation."""
        photo = open_photo(source, enough=2 * self.size)
        return np.asarray(_square(photo, self.size, Image.Resampling[self.resample.upper()], helper))

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """(..., size, size, 3) uint8 -> (..., 3, size, size) float32: (x / 255 - mean) / std."""
        scale = (1.0 / (255.0 * np.asarray(self.std))).astype(np.float32)
        shift = (np.asarray(self.mean) / np.asarray(self.std)).astype(np.float32)
        planes = np.moveaxis(pixels, -1, -3)
        values = np.empty(planes.shape, np.float32)
        np.multiply(planes, scale[:, None, None], out=values)  # in one pass and in memory order: six times faster
        values -= shift[:, None, None]
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ImageTransform:
        """The inverse of `to_dict`."""
        return cls(int(values["size"]), tuple(values["mean"]), tuple(values["std"]), values["resample"])


def _square(photo: Image.Image, size: int, resample: Image.Resampling, helper: Executor | None) -> Image.Image:
    """The longer side first, so that what lies between is small whatever the aspect. Left alone, Pillow chooses the
    order, not all of its versions alike: so the pixels depend neither on the version nor on the threads."""
    between = (size, photo.height) if photo.width >= photo.height else (photo.width, size)
    return _resize_side(_resize_side(photo, between, resample, helper), (size, size), resample, helper)


def _resize_side(
    image: Image.Image, size: tuple[int, int], resample: Image.Resampling, helper: Executor | None
) -> Image.Image:
    """`image.resize(size, resample)` where at most one side changes: rows, or columns, know nothing of each other."""
    across = size[1] == image.height  # each row by itself
    lines = size[1] if across else size[0]
    if helper is None or lines < 2:
        return image.resize(size, resample)
    resized = Image.new(image.mode, size)

    def some(start: int, stop: int) -> None:
        box = (0, start, image.width, stop) if across else (start, 0, stop, image.height)
        shape = (size[0], stop - start) if across else (stop - start, size[1])
        resized.paste(image.crop(box).resize(shape, resample), box[:2])

    middle = lines * 11 // 20  # the helper has to wake first
    try:
        other = helper.submit(some, middle, lines)
    except RuntimeError:  # the interpreter is about to end: no thread starts any more
        return image.resize(size, resample)
    some(0, middle)
    other.result()
    return resized


def photo_formats() -> list[str]:
    """Pillow's names of the formats that it decodes by itself; those that no signature tells come last."""
    Image.init()
    not_photos = ("EPS", "MPEG")  # Ghostscript would run whatever program the file holds; films have no decoder
    names = [name for name in Image.ID if name not in not_photos and not _is_stub(Image.OPEN[name][0])]
    return sorted(names, key=lambda name: Image.OPEN[name][1] is None)


def _is_stub(factory: object) -> bool:
    """Whether Pillow recognises a format and leaves decoding to others."""
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


@lru_cache(maxsize=1)
def photo_suffixes() -> frozenset[str]:
    """Every suffix of those formats, lower case with the dot."""
    formats = photo_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Photos of the folders (recursively, sorted, hidden files left out) and the files, in the order given.

    A file that is named is taken whatever its suffix; in folders, files without a picture's suffix are ignored.
    Links are followed, to no folder twice. A folder that cannot be listed stands among the photos itself, and
    `open_photo` says why.

    Raises:
        DataError: a path does not exist, or the folders hold no photo at all.
    """
    paths = [Path(path) for path in paths]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"no such file or folder: {', '.join(missing)}")
    found = False
    for path in paths:
        for photo in _photos_below(path, set()) if path.is_dir() else [path]:
            found = True
            yield photo
    if not found:
        raise DataError(f"no photos found in {', '.join(map(str, paths))}; suffixes such as .jpg, .png, .webp count")


def _photos_below(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    suffixes = photo_suffixes()
    folders = []
    for entry in entries:
        if _is_folder(entry):
            folders.append(entry)
        elif os.path.splitext(entry.name)[1].lower() in suffixes:  # noqa: PTH122
            yield Path(entry.path)
    for entry in folders:
        yield from _photos_below(Path(entry.path), seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
