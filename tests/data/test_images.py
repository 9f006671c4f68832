"""Photos of every kind that people have, and the one transform."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from conftest import write_photo
from PIL import Image, ImageOps, PngImagePlugin

from seesay.data.images import (
    ImageTransform,
    Resample,
    find_photos,
    open_photo,
    passed_over_note,
    photo_formats,
    photo_suffixes,
)
from seesay.data.images.formats import picture_kind
from seesay.errors import DataError, PhotoError

ORIENTATION = 0x0112
HALF = (0.5, 0.5, 0.5)


def photo(size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Smooth colours, no symmetry; JPEG changes them little."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([x * 255 // size[0], y * 255 // size[1], 255 - x * 200 // size[0]], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean())


def one_colour_png(width: int, height: int, bits: int = 1, colour: int = 3) -> bytes:
    """A palette (3) or grey (0) PNG of zeros, without ever holding its pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width * bits + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    palette = chunk(b"PLTE", bytes([200, 30, 60, 0, 0, 0])) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + head + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# every mode


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")],
)
def test_colour_modes_keep_their_colours(mode: str, kind: str) -> None:
    original = photo()
    opened = open_photo(encoded(original.convert(mode), kind))
    assert opened.mode == "RGB"
    assert difference(opened, original) < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F", "HSV"])
def test_pil_images_of_any_mode(mode: str) -> None:
    """A white upper half stays white, a black lower half black."""
    grey = Image.new("L", (6, 4), 0)
    grey.paste(255, (0, 0, 6, 2))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    else:
        image = (grey.convert("RGB") if mode == "HSV" else grey).convert(mode)
    assert image.mode == mode
    opened = np.asarray(open_photo(image))
    assert opened.shape == (4, 6, 3)
    assert (opened[:2] == 255).all()
    assert (opened[2:] == 0).all()


def test_transparency_is_laid_on_white() -> None:
    alpha = Image.new("L", (4, 4), 0)
    alpha.paste(255, (0, 0, 2, 4))
    red = Image.new("RGB", (4, 4), (200, 0, 0))
    red.putalpha(alpha)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([200, 0, 0, 9, 9, 9])
    palette.paste(0, (0, 0, 2, 4))
    keyed = Image.new("RGB", (4, 4), (9, 9, 9))
    keyed.paste((200, 0, 0), (0, 0, 2, 4))
    for data in (
        encoded(red, "PNG"),
        encoded(red, "WEBP", lossless=True),
        encoded(palette, "PNG", transparency=1),
        encoded(palette, "PNG", transparency=b"\xff\x00"),
        encoded(palette, "GIF", transparency=1),
        encoded(keyed, "PNG", transparency=(9, 9, 9)),
    ):
        opened = np.asarray(open_photo(data))
        assert (opened[:, :2] == (200, 0, 0)).all()
        assert (opened[:, 2:] == 255).all()
    half = Image.new("LA", (1, 1), (0, 128))
    assert np.asarray(open_photo(half)).tolist() == [[[127] * 3]]


def test_sixteen_bit_greys_are_scaled_by_their_full_range() -> None:
    """A dark 16-bit photo stays dark: the unit is the format's, not the photo's brightest pixel."""
    values = np.array([[0, 255, 256, 0x1234], [0x8000, 0xFEFF, 0xFF00, 0xFFFF]], dtype=np.uint16)
    expected = [[0, 0, 1, 0x12], [0x80, 0xFE, 0xFF, 0xFF]]
    for source in (encoded(Image.fromarray(values), "PNG"), encoded(Image.fromarray(values), "TIFF"), values):
        assert np.asarray(open_photo(source))[..., 0].tolist() == expected
    dark = np.full((2, 2), 200, dtype=np.uint16)
    assert np.asarray(open_photo(encoded(Image.fromarray(dark), "PNG"))).max() == 0


def test_float_images_with_undefined_pixels() -> None:
    values = np.array([[0.0, 0.5, 1.0], [np.nan, np.inf, -3.0]], dtype=np.float32)
    opened = np.asarray(open_photo(encoded(Image.fromarray(values), "TIFF")))
    assert opened[0, :, 0].tolist() == [0, 128, 255]
    assert (opened[1] == 0).all()


@pytest.mark.parametrize(("top", "unit"), [(1.0, 1), (200.0, 255), (60000.0, 65535)])
def test_float_images_have_the_range_that_fits(top: float, unit: float) -> None:
    image = Image.fromarray(np.array([[0.0, top]], dtype=np.float32))
    assert np.asarray(open_photo(image))[0, :, 0].tolist() == [0, round(top / unit * 255)]


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert difference(open_photo(data), frames[0]) < 2, kind


# upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    original = photo()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = original.transpose(undo[orientation]) if orientation > 1 else original
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    opened = open_photo(encoded(stored, kind, exif=exif))
    assert difference(opened, original) < 4
    again = open_photo(opened)
    assert difference(opened, again) == 0, "turned twice"


def test_orientation_of_a_pil_image_and_of_transparency() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(Image.new("LA", (5, 3), (0, 0)), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        opened = open_photo(image)
    assert opened.size == (3, 5)
    assert np.asarray(opened).min() == 255


def test_damaged_exif_spoils_no_photo() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 8\nno hexadecimal")
    assert difference(open_photo(encoded(photo(), "PNG", pnginfo=text)), photo()) == 0
    jpeg = encoded(photo(), "JPEG", exif=b"Exif\0\0XX\0*nonsense that is no TIFF header")
    assert difference(open_photo(jpeg), photo()) < 4


# sources


def test_path_bytes_image_and_array_agree(tmp_path: Path) -> None:
    original = photo()
    path = tmp_path / "photo.png"
    original.save(path)
    array = np.asarray(original)
    for source in (str(path), path, path.read_bytes(), original, array, array / 255, array.astype("u2") * 257):
        assert difference(open_photo(source), original) == 0
    assert difference(open_photo(array[:, ::-1].astype(">u2") * 257), original.transpose(Image.Transpose(0))) == 0


def test_files_and_buffers(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo().save(path)
    data = path.read_bytes()
    written = io.BytesIO()
    written.write(data)  # its place is at the end now
    strided = memoryview(bytes(byte for byte in data for _ in range(2)))[::2]
    for source in (bytearray(data), memoryview(data), strided, io.BytesIO(data), written):
        for _ in range(2):
            assert difference(open_photo(source), photo()) == 0
    with path.open("rb") as file, path.open("rb", buffering=0) as raw, zipfile_with(data, tmp_path) as member:
        for source in (file, raw, member):
            for _ in range(2):
                assert difference(open_photo(source), photo()) == 0
    read, write = os.pipe()
    with os.fdopen(write, "wb") as end:
        end.write(data)
    with os.fdopen(read, "rb") as pipe:
        assert difference(open_photo(pipe), photo()) == 0


def zipfile_with(data: bytes, folder: Path) -> IO[bytes]:
    with zipfile.ZipFile(folder / "photos.zip", "w") as file:
        file.writestr("photo.png", data)
    return zipfile.ZipFile(folder / "photos.zip").open("photo.png")


def test_files_that_give_no_photo(tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    path.write_text("To whom it may concern")
    with path.open() as text, pytest.raises(PhotoError, match=r'photo\.txt: a file opened as text: .* "rb"'):
        open_photo(text)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PhotoError, match="the file given: a file opened as text"):
        open_photo(io.StringIO("x"))  # pyright: ignore[reportArgumentType]
    closed = path.open("rb")
    closed.close()
    with pytest.raises(PhotoError, match=r"photo\.txt: the file is closed"):
        open_photo(closed)
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(PhotoError, match="the file given: the file is closed"):
        open_photo(closed)
    with (
        path.open("ab") as file,
        pytest.raises(PhotoError, match=r"photo\.txt: a file that was not opened for reading"),
    ):
        open_photo(file)


def test_a_file_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def read(self, size: int = -1) -> bytes:
            assert size > 0, "it would never come back"
            return bytes(size)

    monkeypatch.setattr("seesay.data.images.sources.MAX_BYTES", 1000)
    with pytest.raises(PhotoError, match="the file given: more than 1,000 bytes"):
        open_photo(Endless())


def test_a_file_of_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no place
    with pytest.raises(PhotoError, match=r"a\.jpg: a file of 1,099,511,627,776 bytes"):
        open_photo(path)


def test_tensors_of_torch() -> None:
    import torch

    pixels = torch.from_numpy(np.asarray(photo()).copy())
    first = pixels.permute(2, 0, 1)
    floats = (first / 255).requires_grad_()
    for source in (pixels, first, first[None], floats, first / 255.0, first.to(torch.uint16) * 257):
        assert difference(open_photo(source), photo()) == 0
    assert difference(open_photo(floats.to(torch.bfloat16)), photo()) < 1
    assert open_photo(first[:1]).size == open_photo(first[0]).size == (40, 30)
    for source in (first.float(), torch.stack([first, first]), first.long(), torch.zeros(5)):
        with pytest.raises(PhotoError, match="array of"):
            open_photo(source)


def test_whatever_numpy_can_make_an_array_of() -> None:
    class Picture:
        dtype, shape = np.dtype(np.uint8), (30, 40, 3)

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.asarray(photo())

    assert difference(open_photo(Picture()), photo()) == 0  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64, ">u2"])
def test_small_values_in_wide_integers(kind: str) -> None:
    """uint16 from other libraries often has the values of uint8; in the full range it would be black."""
    wide = np.asarray(photo()).astype(kind)
    assert difference(open_photo(wide), photo()) == 0
    grey = photo().convert("L")
    in_memory = Image.fromarray(np.asarray(grey).astype(np.uint16))
    assert difference(open_photo(in_memory), grey.convert("RGB")) == 0
    assert np.asarray(open_photo(encoded(in_memory, "PNG"))).max() == 0, "a file says its range"


@pytest.mark.parametrize("how", ["with", "close", "buffer", "loaded"])
def test_a_pil_image_whose_file_is_closed(how: str, tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    file = io.BytesIO((tmp_path / "a.png").read_bytes())
    image = Image.open(file if how == "buffer" else tmp_path / "a.png")
    if how == "with":
        with image:
            pass
    elif how == "buffer":
        file.close()
    else:
        if how == "loaded":
            image.load()
        image.close()
    before = r"its file was closed before its pixels were read: call its load\(\) first"
    said = before if how in ("with", "buffer") else "it was closed: its pixels are gone"
    with pytest.raises(PhotoError, match=f"the image given: {said}"):
        open_photo(image)


def test_a_pil_image_that_was_turned_by_hand_is_turned_again() -> None:
    """As docs/photos.md says: the tag is all there is to see."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    with Image.open(io.BytesIO(encoded(photo(), "JPEG", exif=exif))) as image:
        turned = image.rotate(-90, expand=True)
        assert open_photo(image).size == turned.size == (30, 40)
        assert open_photo(turned).size == (40, 30)
        assert open_photo(ImageOps.exif_transpose(image)).size == (30, 40)


def test_errors_have_a_photo_and_a_reason(tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        open_photo(tmp_path / "gone.jpg")
    assert (caught.value.photo, caught.value.reason) == (str(tmp_path / "gone.jpg"), "no such file")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.photo) == (f"{tmp_path}/gone.jpg: no such file", caught.value.photo)
    with pytest.raises(PhotoError) as caught:
        open_photo(b"")
    assert (caught.value.photo, caught.value.reason) == ("the bytes given", "an empty file")
    assert str(PhotoError("an empty file", "a\n\x1b[2J.jpg")) == r"a\n\x1b[2J.jpg: an empty file"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'': no such file (an empty name)"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg: no such file (a URL is not a file"),
        ("file:///home/a.jpg", "file:///home/a.jpg: no such file (a URL is not a file"),
        ("~/a.jpg", "~/a.jpg: no such file (~ means the home folder"),
        ("photos/*.jpg", "photos/*.jpg: no such file (the shell expands a pattern only outside quotes"),
        ("a.jpg", "a.jpg: no such file"),
    ],
)
def test_names_without_a_file_get_a_hint(name: str, said: str) -> None:
    with pytest.raises(PhotoError) as caught:
        open_photo(name)
    assert str(caught.value).startswith(said)
    assert "(" in said or str(caught.value) == said


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # a socket's name has 100 bytes
    server.bind("s.jpg")
    with server:
        for path, said in (
            (tmp_path / "a.jpg", "a named pipe, not a photo"),
            (tmp_path / "s.jpg", "a socket, not a photo"),
            (Path("/dev/zero"), "a device, not a photo"),
        ):
            with pytest.raises(PhotoError, match=said):
                open_photo(path)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(PhotoError, match=r"loop\.jpg: cannot be read \("):
        open_photo(tmp_path / "loop.jpg")
    with pytest.raises(PhotoError, match=r"cannot be read \(File name too long\)"):
        open_photo(tmp_path / ("x" * 300))


def test_result_is_independent_of_its_source() -> None:
    source = photo()
    opened = open_photo(source)
    opened.paste("black", (0, 0, 40, 30))
    assert difference(source, photo()) == 0


def test_grey_bool_and_alpha_arrays() -> None:
    stripes = np.array([[True, False, True]])
    assert np.asarray(open_photo(stripes))[0, :, 1].tolist() == [255, 0, 255]
    assert np.asarray(open_photo(stripes[..., None].astype(np.float16)))[0, :, 2].tolist() == [255, 0, 255]
    see_through = np.zeros((2, 2, 4), dtype=np.uint8)
    assert np.asarray(open_photo(see_through)).min() == 255
    assert np.asarray(open_photo(np.full((2, 2), 2**32 - 1, dtype=np.uint32))).min() == 255


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\): expected \(H, W\)"),
        (np.zeros((3, 5, 7), np.uint8), r"shape \(3, 5, 7\)"),
        (np.zeros(9, np.uint8), r"shape \(9,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int64), "array of int64: expected unsigned integers, bool, or floats"),
        (np.zeros((4, 4), np.complex64), "array of complex64"),
        (np.full((4, 4, 3), 200.0), r"float64 from 200 to 200: floats are expected to lie in 0\.\.1"),
        (np.full((4, 4), -0.1, np.float32), r"float32 from -0\.1"),
        (np.array([[0.5, np.nan]]), "from nan to nan"),
    ],
)
def test_arrays_that_are_no_photos(array: np.ndarray, said: str) -> None:
    with pytest.raises(PhotoError, match=said):
        open_photo(array)


# what is no photo


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    jpeg = encoded(photo((200, 150)), "JPEG")
    files = {
        "text.jpg": (b"To whom it may concern", "not a picture of any format known here"),
        "empty.jpg": (b"", "an empty file"),
        "one.jpg": (b"\xff", "not a picture"),
        "zeros.jpg": (bytes(1000), "not a picture"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged, cannot be decoded"),
        "cut.png": (encoded(photo(), "PNG")[:-40], "damaged, cannot be decoded"),
        "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\n", "not a picture"),
    }
    for name, (data, said) in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(PhotoError, match=said) as caught:
            open_photo(path)
        assert str(caught.value).startswith(f"{path}: ")
        with pytest.raises(PhotoError, match=f"the bytes given: {said}"):
            open_photo(data)
    with pytest.raises(PhotoError, match=r"gone\.jpg: no such file"):
        open_photo(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="a folder, not a photo"):
        open_photo(tmp_path)
    with pytest.raises(PhotoError, match="cannot be decoded"):
        open_photo("nul\0byte.jpg")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotoError, match="no permission to read it"):
        open_photo(tmp_path / "a.jpg")


def test_pil_image_that_is_damaged_or_empty() -> None:
    jpeg = encoded(photo((200, 150)), "JPEG")
    with (
        Image.open(io.BytesIO(jpeg[: len(jpeg) // 2])) as image,
        pytest.raises(PhotoError, match="the image given: damaged"),
    ):
        open_photo(image)
    with pytest.raises(PhotoError, match="0 x 5 pixels"):
        open_photo(Image.new("RGB", (0, 5)))


def test_random_bytes_after_real_signatures_raise_photo_errors_only() -> None:
    random = np.random.default_rng(3)
    signatures = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF....WEBP", b"P6 "]
    for signature in signatures:
        for size in (1, 40, 400):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on the metadata
                with pytest.raises(PhotoError):
                    open_photo(signature + random.bytes(size))


# large ones


@pytest.mark.parametrize("colour", [0, 3])
def test_decompression_bomb_is_refused_at_once(tmp_path: Path, colour: int) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(one_colour_png(20_000, 20_000, colour=colour))
    assert bomb.stat().st_size < 1_000_000
    code = """
import resource, sys, warnings
warnings.simplefilter("error")
from seesay.data.images import open_photo
from seesay.errors import PhotoError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_photo(sys.argv[1])
except PhotoError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True, check=True)
    said, grown = done.stdout.splitlines()
    assert "bomb.png: too large to decode safely: 20,000 x 20,000 pixels" in said
    assert int(grown) < 50_000, "kB for pixels that were never wanted"
    assert done.stderr == ""
    assert time.monotonic() - start < 20


def test_panorama_opens_without_a_warning_in_any_thread(tmp_path: Path) -> None:
    """108 megapixels: more than where Pillow warns, less than where it refuses."""
    path = tmp_path / "panorama.jpg"
    Image.new("L", (12_000, 9_000), 128).save(path, quality=50)
    filters, seen = list(warnings.filters), []

    def open_it() -> None:
        try:
            seen.append(open_photo(path).resize((2, 2)).getpixel((1, 1)))
        except PhotoError as error:
            seen.append(error)

    thread = threading.Thread(target=open_it)
    thread.start()
    thread.join()
    assert seen == [(128, 128, 128)]  # warnings are errors here
    assert list(warnings.filters) == filters, "filters belong to the whole process"


# folders


def test_find_photos_reads_folders_recursively(tmp_path: Path) -> None:
    names = ["b.jpg", "A.JPEG", "c.Png", "deep/er/d.webp", "deep/a.tif", "e.gif", "sub.jpg/f.bmp"]
    others = [".hidden.jpg", "._a.jpg", ".git/g.jpg", "notes.txt", "noext", "film.mpg", "page.pdf", "page.eps", "a.h5"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [Path(path).relative_to(tmp_path).as_posix() for path in find_photos([tmp_path])]
    assert found == ["A.JPEG", "b.jpg", "c.Png", "e.gif", "deep/a.tif", "deep/er/d.webp", "sub.jpg/f.bmp"]


def test_find_photos_follows_links_to_no_folder_twice(tmp_path: Path) -> None:
    (tmp_path / "album/deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("album/a.jpg", "album/deep/b.jpg", "elsewhere/c.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "album/deep/up").symlink_to(tmp_path / "album")
    (tmp_path / "album/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "album/self").symlink_to("self")
    found = [Path(path).relative_to(tmp_path / "album").as_posix() for path in find_photos([tmp_path / "album"])]
    assert found == ["a.jpg", "deep/b.jpg", "link/c.jpg"]


def test_a_folder_that_cannot_be_listed_is_a_failure_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.jpg").touch()
    scandir = os.scandir

    def some(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", some)
    assert list(find_photos([tmp_path])) == [tmp_path / "locked", tmp_path / "open/a.jpg"]
    with pytest.raises(PhotoError, match=r"locked: (a folder|no permission)"):
        open_photo(tmp_path / "locked")


def test_find_photos_keeps_the_order_given_and_any_named_file(tmp_path: Path) -> None:
    folder = tmp_path / ".album"
    folder.mkdir()
    (folder / "in.jpg").touch()
    (tmp_path / "scan.dat").touch()
    assert list(find_photos([tmp_path / "scan.dat", str(folder)])) == [tmp_path / "scan.dat", folder / "in.jpg"]


def test_a_photo_or_folder_given_twice_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album/sub").mkdir(parents=True)
    for name in ("album/a.jpg", "album/sub/b.jpg", "c.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("album")
    given = [
        "album/a.jpg",
        "c.jpg",
        "./c.jpg",
        tmp_path / "c.jpg",
        "album",
        "album/",
        "link/a.jpg",
        "album/sub",
        "link",
    ]
    assert list(find_photos(given)) == [Path("album/a.jpg"), Path("c.jpg"), Path("album/sub/b.jpg")]


def test_names_without_a_file_stand_among_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    given = ["https://example.org/a.jpg", "", tmp_path / "a.jpg", "gone.jpg", "gone.jpg", tmp_path / "a.jpg/b.jpg"]
    missing = str(tmp_path / "a.jpg/b.jpg")
    assert list(find_photos(given)) == ["https://example.org/a.jpg", "", tmp_path / "a.jpg", "gone.jpg", missing]
    with pytest.raises(DataError, match=r"no such file or folder: '' \(an empty name\), a\.jpg"):
        list(find_photos(["", "a.jpg"]))


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.HEIC", "c.heif", "d.NEF", "sub/e.dng", "f.jxl", "g.svg", "h.txt", ".i.heic", "j.psd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(installed: bool) -> tuple[list[str], Counter[str]]:
        picture_kind.cache_clear()
        monkeypatch.setattr("seesay.data.images.formats.heif_installed", lambda: installed)
        passed_over: Counter[str] = Counter()
        photos = [Path(photo).name for photo in find_photos([tmp_path], passed_over)]
        picture_kind.cache_clear()
        return photos, passed_over

    photos, passed_over = found(installed=True)
    assert photos == ["a.jpg", "b.HEIC", "c.heif"]
    others = {"camera RAW": 2, "JPEG XL": 1, "SVG": 1, "Photoshop": 1}
    assert passed_over == others
    photos, passed_over = found(installed=False)
    assert photos == ["a.jpg"]
    assert passed_over == {"HEIC": 2, **others}
    said = passed_over_note(passed_over)
    assert said.startswith("passed over 7 pictures of kinds that are not read here: 2 HEIC, 2 camera RAW, 1 ")
    assert said.endswith("; pip install 'seesay[heic]' reads HEIC")
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"no photos found in .*; passed over 7 pictures"):
        found(installed=False)


def test_find_photos_without_any(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder: .*gone, .*gone2"):
        list(find_photos([tmp_path / "gone", tmp_path, tmp_path / "gone2"]))
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no photos found in .*; suffixes such as \.jpg"):
        list(find_photos([tmp_path]))


def test_suffixes() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".ppm"} <= photo_suffixes()
    assert not {".pdf", ".eps", ".mpg", ".h5", ".txt", ""} & photo_suffixes()
    assert {".heic", ".heif", ".avif", ".mpo"} <= photo_suffixes()
    assert set(photo_formats()) <= {"JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP", "PPM"}


# the transform


def test_normalisation_by_hand() -> None:
    transform = ImageTransform(2, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    pixels = np.array([[[255, 0, 51], [0, 255, 102]], [[127, 127, 127], [255, 255, 255]]], dtype=np.uint8)
    expected = np.array(
        [
            [[1.0, -1.0], [(127 / 255 - 0.5) / 0.5, 1.0]],
            [[-1.0, 3.0], [(127 / 255 - 0.25) / 0.25, 3.0]],
            [[0.1, 0.2], [127 / 510, 0.5]],
        ]
    )
    result = transform(pixels)  # its size already: nothing is resampled
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_array_equal(transform.normalise(np.stack([pixels, pixels])), np.stack([result, result]))


@pytest.mark.parametrize("size", [(1, 1), (1, 997), (211, 3), (101, 103)])
def test_whole_photo_fills_the_square(tmp_path: Path, size: tuple[int, int]) -> None:
    transform = ImageTransform(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    image = Image.new("RGB", size, (51, 102, 204))
    result = transform(image)
    assert result.shape == (3, 32, 32)
    np.testing.assert_allclose(result.min(axis=(1, 2)), [0.2, 0.4, 0.8], atol=1e-6)
    np.testing.assert_allclose(result.max(axis=(1, 2)), [0.2, 0.4, 0.8], atol=1e-6)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(500, 375), (333, 500), (64, 47), (47, 64), (64, 64), (13, 1021), (7, 2), (211, 1)])
@pytest.mark.parametrize("side", [64, 67])
def test_two_threads_make_the_same_square(size: tuple[int, int], side: int, resample: Resample) -> None:
    noise = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    transform = ImageTransform(side, HALF, HALF, resample)
    with ThreadPoolExecutor(1) as helper:
        np.testing.assert_array_equal(transform(noise, helper), transform(noise))


@pytest.mark.parametrize("size", [(100_003, 2), (2, 100_003), (1, 100_003)])
def test_a_long_strip_is_never_blown_up(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Resized along its short side first, it would take side x length pixels before it takes side x side."""
    made, resize = [], Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
        made.append(size[0] * size[1])
        return resize(image, size, resample)

    monkeypatch.setattr(Image.Image, "resize", watched)
    transform, strip = ImageTransform(32, HALF, HALF), np.zeros((size[1], size[0], 3), np.uint8)
    with ThreadPoolExecutor(1) as helper:
        assert transform(strip, helper).shape == transform(strip).shape == (3, 32, 32)
    assert max(made) <= 32 * 32


def test_two_threads_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, resize = set(), Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
        seen.add((threading.current_thread().name, image.width * image.height))
        return resize(image, size, resample)

    monkeypatch.setattr(Image.Image, "resize", watched)
    with ThreadPoolExecutor(1, "helper") as helper:
        ImageTransform(32, HALF, HALF)(photo((100, 80)), helper)
    assert seen == {("MainThread", 4400), ("helper_0", 3600), ("MainThread", 1360), ("helper_0", 1200)}


def test_squashing_keeps_where_things_are() -> None:
    """The left quarter of a wide photo is the left quarter of the square."""
    image = Image.new("RGB", (400, 100), "black")
    image.paste("white", (0, 0, 100, 50))
    pixels = ImageTransform(40, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).pixels(image)
    assert pixels.dtype == np.uint8
    assert pixels[:18, :8].min() > 250
    assert pixels[22:].max() < 5
    assert pixels[:, 12:].max() < 5


def test_resample_matters_and_is_kept() -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    names: tuple[Resample, ...] = ("bilinear", "bicubic", "lanczos")
    bilinear, bicubic, lanczos = (ImageTransform(32, HALF, HALF, name)(noisy) for name in names)
    assert not np.array_equal(bilinear, bicubic)
    assert not np.array_equal(lanczos, bicubic)


def test_transform_survives_json() -> None:
    transform = ImageTransform(260, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "lanczos")
    again = ImageTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    assert again == transform
    assert hash(again) == hash(transform)


def test_transform_of_a_broken_photo(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", 1)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(PhotoError, match=r"a\.jpg"):
        ImageTransform(32, HALF, HALF)(path)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(640, 512), (1031, 2053), (1310, 523)])
def test_large_jpegs_are_decoded_at_a_reduced_size(size: tuple[int, int], orientation: int) -> None:
    """Within a tolerance of full decoding, whatever way up they were stored."""
    picture = photo().resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(picture, "JPEG", quality=92, exif=exif)
    transform = ImageTransform(64, HALF, HALF)
    reduced = open_photo(data, enough=128)
    assert 128 <= min(reduced.size) < min(size)
    full = np.asarray(open_photo(data).resize((64, 64), Image.Resampling.BICUBIC), int)
    far = np.abs(transform.pixels(data) - full)
    assert far.mean() < 1
    assert far.max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photos_below_four_times_the_square_are_decoded_in_full(kind: str) -> None:
    side = 255 if kind == "JPEG" else 600
    data = encoded(photo().resize((700, side)), kind)
    full = np.asarray(open_photo(data).resize((64, 64), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(ImageTransform(64, HALF, HALF).pixels(data), full)


def test_a_large_jpeg_cut_short_is_a_photo_error() -> None:
    data = encoded(photo().resize((900, 900)), "JPEG")
    with pytest.raises(PhotoError, match="damaged"):
        ImageTransform(64, HALF, HALF)(data[: len(data) // 2])


def test_a_pil_image_is_not_reduced_behind_its_owners_back() -> None:
    image = Image.open(io.BytesIO(encoded(photo().resize((900, 900)), "JPEG")))
    ImageTransform(64, HALF, HALF)(image)
    assert image.size == (900, 900)
