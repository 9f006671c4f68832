"""Photos that would take all the memory, or minutes, and photos that are damaged: each costs itself at most."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from PIL import Image

from seesay.data.images import ImageTransform, jpeg, limits, open_photo, rgb, tiff
from seesay.errors import PhotoError

FAULTS = SHARED / "faults"
TRANSFORM = ImageTransform(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def photo(size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Smooth noise, nowhere middle grey for long."""
    random = np.random.default_rng(7)
    small = Image.fromarray(random.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, *, between: bytes = b"", pixels: bytes = b"") -> bytes:
    """A PNG's frame; without `pixels` it has none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + between + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def tiff_file(*tags: tuple[int, int, int, int], order: str = "<", big: bool = False) -> bytes:
    """A TIFF of one directory with these (tag, type, count, value)."""
    mark = b"II" if order == "<" else b"MM"
    if big:
        start = mark + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(tags))
    else:
        start = mark + struct.pack(f"{order}HIH", 42, 8, len(tags))
    integer, room = ("Q", 8) if big else ("I", 4)
    entries = b""
    for tag, kind, count, value in tags:
        packed = struct.pack(f"{order}{tiff.INTEGERS[kind]}", value).ljust(room, b"\0")
        entries += struct.pack(f"{order}HH{integer}", tag, kind, count) + packed
    return start + entries + bytes(room)


# too large


LARGE = [(178_956_970, 1), (1, 178_956_970), (13_000, 14_000), (2**31 - 1, 2**31 - 1)]
LARGE_SHORTS = [(13_000, 14_000), (65_535, 65_535)]  # formats that have 16 bits for a side


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind in ("png", "bmp", "ppm", "tiff") for size in LARGE]
    + [(kind, size) for kind in ("gif", "jpeg") for size in LARGE_SHORTS],
)
def test_a_picture_with_too_long_a_side_or_too_many_pixels(kind: str, size: tuple[int, int]) -> None:
    width, height = size
    grey = encoded(Image.new("L", (8, 8)), "JPEG")
    at = grey.index(b"\xff\xc0") + 5
    data = {
        "png": lambda: png(width, height),
        "bmp": lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, *size, 1, 24, 0, 0, 0, 0, 0, 0),
        "ppm": lambda: f"P6\n{width} {height}\n255\n".encode(),
        "tiff": lambda: tiff_file((256, 4, 1, width), (257, 4, 1, height), (273, 4, 1, 8), (278, 4, 1, 1)),
        "gif": lambda: b"GIF89a" + struct.pack("<HHBBBBHHHHB", *size, 0, 0, 0, 0x2C, 0, 0, *size, 0) + b"\x02\x00;",
        "jpeg": lambda: grey[:at] + struct.pack(">HH", height, width) + grey[at + 4 :],
    }[kind]()
    start = time.process_time()
    with pytest.raises(PhotoError, match="too large to decode safely"):
        TRANSFORM(data)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("shape", [(1, 200_000, 3), (200_000, 1, 3), (200_000, 1)])
def test_arrays_and_pil_images_have_the_same_limits(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.uint8)
    for source in (array, Image.fromarray(array)):
        with pytest.raises(PhotoError, match="200,000"):
            open_photo(source)


@needs_shared
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Tag data larger")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wide_178956970x1.png", "too large to decode safely: 178,956,970 x 1 pixels"),
        ("tile_40000_in_16x16.tif", "16 x 16 pixels in tiles of 40,000 x 40,000"),
        ("jpeg_600_scans_6000x6000.jpg", "in more than 100 scans"),
        ("pillow11_hang.dds", "not a picture of any format known here, but a DDS texture"),
        ("libtiff_noise.tif", "damaged, cannot be decoded"),
    ],
)
def test_files_that_went_wrong_once(name: str, said: str) -> None:
    start = time.process_time()
    with pytest.raises(PhotoError, match=said):
        TRANSFORM(FAULTS / name)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", [3, 4, 9])
def test_tiles_that_are_far_larger_than_the_picture(order: str, big: bool, kind: int) -> None:
    side = 32_000
    tags = [(256, 3, 1, 16), (257, 3, 1, 16), (322, kind, 1, side), (323, kind, 1, side), (324, 4, 1, 8)]
    with pytest.raises(PhotoError, match="in tiles of 32,000 x 32,000"):
        open_photo(tiff_file(*tags, order=order, big=big))


def test_many_tiles_that_are_larger_than_the_picture() -> None:
    """Each is small enough, all together are not."""
    tags = [(256, 3, 1, 16), (257, 3, 1, 60_000), (322, 3, 1, 16_000), (323, 3, 1, 16), (324, 4, 3750, 8)]
    with pytest.raises(PhotoError, match="in tiles of 16,000 x 16"):
        open_photo(tiff_file(*tags))


def test_other_tiffs_that_are_refused_before_they_are_read() -> None:
    size = [(256, 3, 1, 16), (257, 3, 1, 16)]
    for tags, said in (
        ([*size, (273, 4, 2_000_000, 8)], "2,000,000 strips or tiles"),
        ([*size, (322, 3, 1, 16), (322, 3, 1, 40_000)], "several values of tag 322"),
        ([*size, (322, 3, 2, 16)], "several values of tag 322"),
        ([(40_000 + i, 3, 1, 0) for i in range(5000)], "a TIFF of 5,000 tags"),
    ):
        with pytest.raises(PhotoError, match=said):
            open_photo(tiff_file(*tags))


def test_tiled_tiffs_as_they_are_written() -> None:
    """Tiles may stick out of the picture."""
    pixels = b"\x10\x80\xf0" * (256 * 256)
    tags = [(256, 3, 1, 20), (257, 3, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3)]
    tags += [(322, 3, 1, 256), (323, 3, 1, 256)]
    at = len(tiff_file(*tags, (324, 4, 1, 0), (325, 4, 1, 0)))
    data = tiff_file(*tags, (324, 4, 1, at), (325, 4, 1, len(pixels))) + pixels
    assert open_photo(data).getpixel((19, 9)) == (0x10, 0x80, 0xF0)


def test_large_photos_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGE_PIXELS", 1000)
    running, most, convert = 0, 0, Image.Image.convert

    def watched(image: Image.Image, mode: str) -> Image.Image:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1
        return convert(image, mode)

    monkeypatch.setattr(Image.Image, "convert", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_photo, [encoded(photo(), "PNG")] * 8))
        assert most == 1
        list(pool.map(open_photo, [encoded(photo((16, 16)), "PNG")] * 8))
        assert most > 1, "small ones need not wait"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_waits_for_no_thread_of_its_parent() -> None:
    code = """
import os, signal
from PIL import Image
from seesay.data.images import limits, open_photo
limits.LARGE_PIXELS = 10
with limits.alone_if_large((5, 5)):
    child = os.fork()
    if not child:
        signal.alarm(20)  # it would wait for ever
        open_photo(Image.new("RGB", (5, 5)))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"


def test_a_very_large_picture_is_averaged_down_when_less_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rgb, "LARGE_PIXELS", 100_000)
    data = encoded(photo((410, 300)), "PNG")
    assert open_photo(data).size == (410, 300)
    assert open_photo(data, enough=64).size == (103, 75)
    reduced, whole = TRANSFORM.pixels(data).astype(int), np.asarray(photo((410, 300)).resize((32, 32)), int)
    assert np.abs(reduced - whole).mean() < 10
    strip = encoded(photo((1600, 80)), "PNG")
    assert open_photo(strip, enough=64).size == (800, 40), "no more than the limit, and as long as it was"


def test_pictures_are_converted_band_by_band(monkeypatch: pytest.MonkeyPatch) -> None:
    transparent = photo((60, 50))
    transparent.putalpha(Image.linear_gradient("L").resize((60, 50)))
    deep = Image.fromarray(np.arange(3000, dtype=np.uint16).reshape(50, 60) * 21)
    wholes = [open_photo(image) for image in (transparent, deep)]
    monkeypatch.setattr(rgb, "BAND_PIXELS", 420)
    for image, whole in zip((transparent, deep), wholes, strict=True):
        np.testing.assert_array_equal(np.asarray(open_photo(image)), np.asarray(whole))


@pytest.mark.parametrize("where", ["load", "resize", "convert"])
def test_memory_that_does_not_suffice_is_an_error_of_this_photo(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    data = encoded(Image.new("RGB", (90, 80)), "BMP")
    monkeypatch.setattr(Image.Image, where, full)
    with pytest.raises(PhotoError, match="the bytes given: too large for this machine's memory"):
        TRANSFORM(data)


# too slow


def with_scans(count: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(photo(size), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (count - data.count(b"\xff\xda") + 1) + data[-2:]


def test_a_jpeg_with_hundreds_of_scans_is_refused() -> None:
    assert open_photo(with_scans(30)).size == (64, 64)
    with pytest.raises(PhotoError, match="a JPEG of 64 x 64 pixels in more than 100 scans"):
        open_photo(with_scans(101))


def test_a_sequential_jpeg_with_hundreds_of_scans_is_refused() -> None:
    """One component a scan; what stands before the first one looks like a scan of all of them."""
    data = encoded(photo((64, 64)), "JPEG")
    start = data.index(b"\xff\xda")
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([1 + i % 3, 0, 0, 63, 0]) + data[-20:-2] for i in range(120))
    decoy = b"\xff\xfe\0\x06\xff\xda\0\x0c"
    with pytest.raises(PhotoError, match="in more than 100 scans"):
        open_photo(data[:start] + decoy + scans + data[-2:])


def test_the_larger_a_jpeg_the_fewer_scans_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MAX_SCANNED", 64 * 64 * 20)
    assert open_photo(with_scans(20)).size == (64, 64)
    with pytest.raises(PhotoError, match="in more than 20 scans"):
        open_photo(with_scans(21))


def test_what_only_looks_like_scans_is_not_counted() -> None:
    """In metadata, and in films that phones append to a photo."""
    data = encoded(photo((64, 64)), "JPEG")
    marks = b"\xff\xda" * 500
    comment = b"\xff\xfe" + struct.pack(">H", len(marks) + 2) + marks
    assert open_photo(data[:2] + comment + data[2:] + marks).size == (64, 64)


def test_endless_segments_between_scans() -> None:
    data = with_scans(20)
    few = b"\xff\xfe\0\2" * 200_000 + b"\xff\xfe\0\xca" + b"\xff\xda" * 100
    start = time.process_time()
    with pytest.raises(PhotoError, match="too slow to decode"):
        open_photo(data[:-2] + few + data[-2:])
    assert time.process_time() - start < 2


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "ppm"])
def test_files_of_countless_small_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_READS", 2000)
    small = encoded(photo((16, 16)), "JPEG")
    picture = encoded(Image.new("P", (16, 16)), "GIF")
    at = picture.index(b",", 13)
    time_chunk = struct.pack(">I", 0) + b"tIME" + struct.pack(">I", zlib.crc32(b"tIME"))
    data = {
        "png": png(16, 16, between=time_chunk * 2000, pixels=bytes(16 * 3)),
        "jpeg": small[:2] + b"\xff" * 4000 + small[2:],
        "gif": picture[:at] + b"!\xfe" + b"\1a" * 4000 + b"\0" + picture[at:],
        "ppm": b"P5 #" + b"x" * 4000 + b"\n4 4 255\n" + bytes(16),
    }[kind]
    with pytest.raises(PhotoError, match="too slow to decode: made of more than 2,000 parts"):
        open_photo(data)


@pytest.mark.parametrize("header", [b"P3", b"P2", b"P1"])
def test_pictures_as_text_are_read_as_long_as_they_are_small(header: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SLOW_PIXELS", 100)

    def picture(side: int) -> bytes:
        maxval = b"" if header == b"P1" else b"255\n"
        return header + f"\n{side} {side}\n".encode() + maxval + b"1 " * (3 * side * side)

    assert open_photo(picture(10)).size == (10, 10)
    with pytest.raises(PhotoError, match="too slow to decode: a PPM of 11 x 11 pixels in a rare coding"):
        open_photo(picture(11))
    with pytest.raises(PhotoError, match="a PPM with 200 comments"):
        open_photo(picture(10) + b"#\n" * 200)


def test_other_codings_that_pillow_decodes_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SLOW_PIXELS", 100)
    with pytest.raises(PhotoError, match="too slow to decode: a PPM"):
        open_photo(b"P6\n20 20\n100\n" + bytes(1200))
    pixels = b"\x14\0\0\0" * 20 + b"\0\1"  # runs of 20
    sizes = struct.pack("<IIIIiiHHIIiiII", 0, 0, 1078, 40, 20, 20, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    with pytest.raises(PhotoError, match="too slow to decode: a BMP"):
        open_photo(b"BM" + sizes + bytes(1024) + pixels)


# formats


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"8BPS\0\1" + bytes(40), "a Photoshop file"),
        (b"qoif" + bytes(40), "a QOI picture"),
        (b"DDS " + bytes(200), "a DDS texture"),
        (b"\0\0\1\0\1\0" + bytes(40), "an icon"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "a JPEG 2000 picture"),
        (b"SIMPLE  =                    T", "a FITS image"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "a film"),
        (b"%PDF-1.7", "a PDF document"),
    ],
)
def test_what_is_no_photo_is_called_by_its_name(data: bytes, what: str) -> None:
    with pytest.raises(PhotoError, match=f"not a picture of any format known here, but {what}; JPEG, PNG, .* are read"):
        open_photo(data)


def test_formats_that_hardly_any_photo_has_are_not_opened() -> None:
    image = photo((16, 16))
    for kind in ("TGA", "PCX", "SGI", "MSP", "DDS", "ICO", "SPIDER", "JPEG2000", "PDF", "QOI"):
        image_in = {"MSP": image.convert("1"), "SPIDER": image.convert("F")}.get(kind, image)
        with pytest.raises(PhotoError, match="not a picture of any format known here"):
            open_photo(encoded(image_in, kind))


def test_libtiff_does_not_write_to_the_terminal(tmp_path: Path) -> None:
    data = bytearray(encoded(photo(), "TIFF", compression="tiff_lzw"))
    data[8:2000] = b"\xff" * 1992
    (tmp_path / "noisy.tif").write_bytes(data)
    code = """
import sys
from seesay.data.images import open_photo
from seesay.errors import PhotoError
for path in sys.argv[1:]:
    try:
        open_photo(path)
    except PhotoError as error:
        print(error.reason)
"""
    paths = [tmp_path / "noisy.tif", *FAULTS.glob("libtiff_noise.tif")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == len(paths)
    assert done.stderr == ""


# HEIC


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90, **options)
    return file.getvalue()


def test_heic_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = open_photo(heic(photo((96, 64)), exif=exif.tobytes()))
    assert opened.size == (64, 96)
    far = np.asarray(opened, int) - np.asarray(photo((96, 64)).transpose(Image.Transpose.ROTATE_270), int)
    assert np.abs(far).mean() < 10


def test_heic_that_is_damaged() -> None:
    data = heic(photo((96, 64)))
    for broken in (data[:40], data[: len(data) // 2], data.replace(b"hvc1", b"hvc9")):
        with pytest.raises(PhotoError, match="damaged"):
            open_photo(broken)


def test_heic_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.data.images.opening.heif_installed", lambda: False)
    for brand in (b"heic", b"heix", b"mif1", b"hevc"):
        with pytest.raises(PhotoError, match=r"pip install 'seesay\[heic\]'"):
            open_photo(b"\0\0\0\x18ftyp" + brand + bytes(40))


# cut short


@needs_shared
def test_a_jpeg_that_lacks_its_last_two_bytes() -> None:
    opened = open_photo(FAULTS / "photos_missing_eoi/no_eoi.jpg")
    assert opened.info["warning"] == "cut short: the end of the file is missing, but nothing of the picture"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_whole(mode: str, progressive: bool) -> None:
    data = encoded(photo().convert(mode), "JPEG", progressive=progressive)
    for lost in (1, 2, 3):
        opened = open_photo(data[:-lost])
        assert opened.info["warning"].startswith("cut short: ")
        if lost < 3 or not progressive:
            far = np.asarray(opened, int) - np.asarray(open_photo(data), int)
            assert np.abs(far).mean() < 0.5
    assert open_photo(data).info == {}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("enough", [None, 64])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_is_there_of_a_jpeg_is_read(mode: str, enough: int | None, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo((512, 512)).convert(mode), "JPEG", exif=exif)
    start = data.index(b"\xff\xda")
    opened = open_photo(data[: start + int((len(data) - start) * 0.9)], enough)
    share = int(opened.info["warning"].removeprefix("cut short: the lowest ").partition("%")[0])
    assert 6 <= share <= 14
    with pytest.raises(PhotoError, match=r"damaged, cannot be decoded \(cut short: [45]\d% of the picture is missing"):
        open_photo(data[: start + (len(data) - start) // 2], enough)


def test_a_progressive_jpeg_that_lacks_later_scans_is_coarser() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert open_photo(data[: last + 20]).info["warning"] == "cut short: some detail may be missing"
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    with pytest.raises(PhotoError, match="of the picture is missing"):
        open_photo(data[: second // 2 + 100])


def test_a_warning_comes_with_the_pixels() -> None:
    data = encoded(photo(), "JPEG")
    assert TRANSFORM.read(data).warning is None
    read = TRANSFORM.read(data[:-2])
    assert read.warning is not None
    np.testing.assert_allclose(read.pixels, TRANSFORM(data), atol=0.05)


def test_threads_and_photos_cut_short() -> None:
    """No setting of the whole process is changed to read them."""
    whole, cut = encoded(photo(), "JPEG"), encoded(photo(), "JPEG")[:-2]
    half = whole[: len(whole) // 2]

    def kind(data: bytes) -> str:
        try:
            return "cut" if open_photo(data).info else "whole"
        except PhotoError:
            return "half"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(kind, [whole, cut, half] * 10)) == ["whole", "cut", "half"] * 10
    assert threading.active_count() >= 1
