"""Alt text: what other programs read, what stays, and that every change can be undone."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from conftest import Cli, Done, write_photo
from PIL import Image

from seesay.caption import Caption, Failure
from seesay.outputs import LeftOutError
from seesay.outputs.alt_text import AltText, AltTextOptions, MetadataError, undo, with_alt_text
from seesay.outputs.alt_text.files import packet_of, sidecar_of, with_packet
from seesay.outputs.alt_text.packet import ALT_TEXT, DESCRIPTION, WRITTEN, Packet

EXIF = Image.Exif()
EXIF[270] = "Tom"
LOSSLESS: dict[str, Any] = {"lossless": True}
FRAMES: dict[str, Any] = {"save_all": True, "duration": 100}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name -> suffix, mode, how Pillow saves it
    "jpeg": (".jpg", "RGB", {}),
    "grey": (".jpg", "L", {}),
    "progressive": (".jpg", "RGB", {"progressive": True, "comment": b"a comment", "icc_profile": b"a profile"}),
    "exif": (".jpg", "RGB", {"exif": EXIF}),
    "png": (".png", "RGB", {}),
    "palette": (".png", "P", {}),
    "frames": (".png", "RGB", FRAMES),
    "webp": (".webp", "RGB", {}),
    "lossless": (".webp", "RGB", LOSSLESS),
    "transparent": (".webp", "RGBA", LOSSLESS),
    "lossy-transparent": (".webp", "RGBA", {}),
    "webp-exif": (".webp", "RGB", {"exif": EXIF}),
    "webp-frames": (".webp", "RGB", FRAMES),
}
LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:d="http://purl.org/dc/elements/1.1/" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:Rating="4" crs:Exposure2012="+0.35">
   <d:subject><rdf:Bag><rdf:li>cats &amp; dogs</rdf:li></rdf:Bag></d:subject>
   <d:description><rdf:Alt><rdf:li xml:lang="de">Kater</rdf:li><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt>
   </d:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>

<?xpacket end="w"?>"""


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("seesay.outputs.alt_text.changes.user_state_path", lambda _: tmp_path / "state")
    return tmp_path / "state" / "changes"


def picture(mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (31, 43, 4), np.uint8)
    return Image.fromarray(noise, "RGBA").convert(mode)


def photo(kind: str, folder: Path) -> Path:
    suffix, mode, how = KINDS[kind]
    if how.get("save_all"):
        how = {**how, "append_images": [picture(mode).rotate(90)]}
    path = folder / f"{kind}{suffix}"
    picture(mode).save(path, **how)
    return path


def caption(image: Path, text: str = "a cat & <a> dog", **values: Any) -> Caption:
    return Caption(text, -1.0, (), str(image), **values)


def write(image: Path, text: str = "a cat & <a> dog", **options: Any) -> AltText:
    with AltText(AltTextOptions(**options, model="a-model")) as writer:
        writer.write(str(image), caption(image, text))
    return writer


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        found = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(np.asarray(image))
        return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_pillow_reads_from_a_photo(kind: str, tmp_path: Path, logs: Path) -> None:
    image = photo(kind, tmp_path)
    before, shown = image.read_bytes(), frames(image)
    write(image, embed=True)
    with Image.open(image) as opened:
        opened.load()
        xmp = opened.info["xmp"]
        description = opened.getexif().get(270)
        assert opened.info.get("icc_profile") == KINDS[kind][2].get("icc_profile")
    assert Packet(xmp).text(ALT_TEXT) == "a cat & <a> dog"
    assert Packet(xmp).text(DESCRIPTION) == ("" if description else "a cat & <a> dog"), "Exif has one already"
    np.testing.assert_equal(frames(image), shown)
    (log,) = logs.iterdir()
    assert undo(log) == (1, [])
    assert image.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_is_replaced_and_taken_out(kind: str, tmp_path: Path) -> None:
    data = photo(kind, tmp_path).read_bytes()
    once = with_packet(data, b"<one/>")
    assert (packet_of(data), packet_of(once)) == (None, b"<one/>")
    assert with_packet(once, b"<another one/>") == with_packet(data, b"<another one/>")
    assert with_packet(once, None) == data
    for cut in range(12, len(once), 7):
        try:
            packet_of(once[:cut])
            with_packet(once[:cut], b"<two/>")
        except MetadataError:
            pass


def test_metadata_of_others_stay(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    image.write_bytes(with_packet(image.read_bytes(), (LIGHTROOM % "Our Tom").encode()))
    write(image, embed=True)
    packet = packet_of(image.read_bytes()) or b""
    assert Packet(packet).text(ALT_TEXT) == "a cat & <a> dog"
    assert Packet(packet).text(DESCRIPTION) == "Our Tom", "a description of somebody's own is not replaced"
    for theirs in ('xmp:Rating="4"', 'crs:Exposure2012="+0.35"', "cats &amp; dogs", 'xml:lang="de">Kater<', "Core 7.0"):
        assert theirs in packet.decode()
    assert packet.decode().count('rdf:about="uuid:1"') == 2


def test_an_empty_description_is_written(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    image.write_bytes(with_packet(image.read_bytes(), (LIGHTROOM.replace("Kater", "") % " ").encode()))
    write(image, embed=True)
    assert Packet(packet_of(image.read_bytes())).text(DESCRIPTION) == "a cat & <a> dog"


def alt_text(image: Path) -> str:
    return Packet(packet_of(image.read_bytes())).text(ALT_TEXT)


def test_what_may_be_replaced(tmp_path: Path) -> None:
    image = photo("png", tmp_path)
    write(image, "first", embed=True)
    assert write(image, "second", embed=True).kept == 1
    assert alt_text(image) == "first"
    write(image, "third", embed=True, overwrite="ours")
    assert alt_text(image) == "third"
    edited = (packet_of(image.read_bytes()) or b"").replace(b">third<", b">Tom on the roof<", 1)  # the alt text
    image.write_bytes(with_packet(image.read_bytes(), edited))
    assert (alt_text(image), Packet(edited).text(WRITTEN)) == ("Tom on the roof", "third")
    assert write(image, "fourth", embed=True, overwrite="ours").kept == 1
    write(image, "fifth", embed=True, overwrite="all")
    packet = Packet(packet_of(image.read_bytes()))
    assert [packet.text(name) for name in (ALT_TEXT, DESCRIPTION, WRITTEN)] == ["fifth"] * 3
    assert packet.to_bytes().count(b"<rdf:Description") == 1, "nothing is left of what was written before"


def test_a_sidecar_leaves_the_photo_alone(tmp_path: Path, logs: Path) -> None:
    image = photo("jpeg", tmp_path)
    before = image.read_bytes()
    write(image)
    assert image.read_bytes() == before
    assert Packet((tmp_path / "jpeg.jpg.xmp").read_bytes()).text(ALT_TEXT) == "a cat & <a> dog"
    assert write(image, "another").kept == 1
    write(image, "another", overwrite="ours")
    first, second = sorted(logs.iterdir(), key=lambda log: log.stat().st_mtime_ns)
    assert undo(second) == (1, [])
    assert Packet(sidecar_of(image).read_bytes()).text(ALT_TEXT) == "a cat & <a> dog"
    assert undo(first) == (1, [])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["jpeg.jpg"]


def test_alt_text_inside_the_photo_keeps_a_sidecar_away(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    write(image, embed=True)
    assert (write(image).kept, write(image, overwrite="ours").written) == (1, 1)


def test_a_file_that_changed_since_is_left_alone(tmp_path: Path, logs: Path) -> None:
    images = [photo(kind, tmp_path) for kind in ("jpeg", "png", "webp")]
    with AltText(AltTextOptions(embed=True)) as writer:
        for image in images:
            writer.write(image, caption(image))
    shutil.copy(images[1], images[0])
    images[1].unlink()
    (log,) = logs.iterdir()
    with log.open("ab") as file:
        file.write(b'{"file": "cut o')  # killed while writing
    undone, problems = undo(log)
    assert undone == 1
    assert problems == [
        f"{images[1]}: not undone: it was changed since, or is gone",
        f"{images[0]}: not undone: it was changed since, or is gone",
    ]
    assert undo(log)[0] == 1, "again: it is as before already"


def test_killed_between_the_log_and_the_file(tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo("jpeg", tmp_path)
    before = image.read_bytes()
    monkeypatch.setattr("seesay.outputs.alt_text.changes.write_file", lambda *_: None)
    write(image, embed=True)
    (log,) = logs.iterdir()
    assert undo(log) == (1, [])
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    "log",
    [
        b"no JSON\n",
        b"[1]\n",
        b'{"file": "x"}\n',
        b'{"file": "x", "sidecar": false, "packet": "a", "before": null, "after": null, "time": null}\n',
    ],
)
def test_a_log_of_something_else(log: bytes, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(log)
    with pytest.raises(Exception, match=r"log:1: no line of a log of changes"):
        undo(tmp_path / "log")


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"<no", "its XMP is broken"),
        (b"<a/>", "its XMP has 0 rdf:RDF elements"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "its XMP has a document type"),
    ],
)
def test_broken_metadata_are_one_line(packet: bytes, reason: str, tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    image.write_bytes(before := with_packet(image.read_bytes(), packet))
    with pytest.raises(LeftOutError, match=rf"jpeg.jpg: no alt text written: {reason}"):
        write(image, embed=True)
    assert image.read_bytes() == before


def test_photos_that_cannot_hold_it(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tiff")
    with pytest.raises(LeftOutError, match=r"a.tiff: no alt text written: only JPEG, PNG and WebP .* use --sidecar"):
        write(tmp_path / "a.tiff", embed=True)
    with pytest.raises(LeftOutError, match=r"gone.jpg: no alt text written: it is not a file of its own"):
        write(tmp_path / "gone.jpg", embed=True)
    image = photo("jpeg", tmp_path)
    long = (LIGHTROOM % ("x" * 70_000)).encode()
    sidecar_of(image).write_bytes(long)
    write(image)
    with pytest.raises(MetadataError, match=r"its XMP would have 7.,... bytes, a JPEG segment has 65,504 at most"):
        with_packet(image.read_bytes(), sidecar_of(image).read_bytes())


def test_write_protected_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo("jpeg", tmp_path)
    image.chmod(0o400)
    monkeypatch.setattr("os.access", lambda path, mode: path != image or mode != os.W_OK)  # root may write everywhere
    with pytest.raises(LeftOutError, match="it is write-protected"):
        write(image, embed=True)


def test_permissions_stay(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    image.chmod(0o640)
    os.utime(image, (0, 0))
    write(image, embed=True)
    status = image.stat()
    assert status.st_mode & 0o777 == 0o640 and status.st_mtime > 10**9


def mpo(order: str) -> bytes:
    """A JPEG with a second picture, whose list is in this byte order."""
    data = io.BytesIO()
    picture().save(data, "MPO", save_all=True, append_images=[picture().resize((16, 16))])
    content = bytearray(data.getvalue())
    if order == ">":  # Pillow writes "<"
        body = content.index(b"MPF\0") + 4
        (count,) = struct.unpack_from("<H", content, body + 8)
        content[body : body + 10] = b"MM\0*" + struct.pack(">IH", 8, count)
        for number in range(count):
            tag, type_, size, value = struct.unpack_from("<HHII", content, body + 10 + 12 * number)
            if type_ == 4:
                struct.pack_into(">HHII", content, body + 10 + 12 * number, tag, type_, size, value)
                continue
            raw = bytes(content[body + 18 + 12 * number : body + 22 + 12 * number])
            if tag == 0xB002:
                for place in range(body + value, body + value + size, 4):
                    content[place : place + 4] = content[place : place + 4][::-1]
                raw = raw[::-1]
            struct.pack_into(">HHI4s", content, body + 10 + 12 * number, tag, type_, size, raw)
    return bytes(content)


@pytest.mark.parametrize("order", ["<", ">"])
def test_further_pictures_of_a_photo_are_still_found(order: str, tmp_path: Path) -> None:
    """Phones keep the gain map of an HDR photo so."""
    image = tmp_path / "a.jpg"
    image.write_bytes(mpo(order))
    before = frames(image)
    sizes: list[int] = []
    for _ in range(2):
        content, body = image.read_bytes(), image.read_bytes().index(b"MPF\0") + 4
        (place,) = re.findall(struct.pack(f"{order}HH", 0xB002, 7) + b".{4}(.{4})", content[body:], re.DOTALL)[:1]
        sizes.append(struct.unpack_from(f"{order}I", content, body + struct.unpack(f"{order}I", place)[0] + 4)[0])
        assert content[sizes[-1] - 2 : sizes[-1] + 2] == b"\xff\xd9\xff\xd8", "the first picture ends there"
        write(image, embed=True, overwrite="all")
    assert len(before) == 2 and sizes[1] > sizes[0]
    np.testing.assert_equal(frames(image), before)


def test_a_packet_after_the_list_of_pictures(tmp_path: Path) -> None:
    """It cannot grow without moving them."""
    content = mpo("<")
    end = content.index(b"MPF\0") - 2
    end += struct.unpack_from(">H", content, end)[0]
    header = b"http://ns.adobe.com/xap/1.0/\0"
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(header) + 4) + header + b"<a/>"
    with pytest.raises(MetadataError, match="stands after the list of its further pictures"):
        with_packet(content[:end] + segment + content[end:], b"<b/>")


def test_compressed_png_metadata(tmp_path: Path) -> None:
    data = photo("png", tmp_path).read_bytes()
    packet = (LIGHTROOM % "Tom").encode()

    def chunk(content: bytes) -> bytes:
        kind = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + content
        return data[:33] + struct.pack(">I", len(kind) - 4) + kind + struct.pack(">I", zlib.crc32(kind)) + data[33:]

    assert packet_of(chunk(zlib.compress(packet))) == packet
    with pytest.raises(MetadataError, match="its XMP is broken"):
        packet_of(chunk(b"not zlib"))
    with pytest.raises(MetadataError, match="its XMP has more than 16,777,216 bytes"):
        packet_of(chunk(zlib.compress(bytes(2**24 + 1))))
    with pytest.raises(MetadataError, match="could not be taken out again"):  # compressed otherwise than by us
        with_packet(chunk(zlib.compress(packet)), b"<a/>")


def test_line_breaks_in_the_metadata_of_others(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    theirs = LIGHTROOM.replace('xmp:Rating="4"', 'xmp:Label="one&#10;two&#9;&quot;three"') % "a&#13;b"
    image.write_bytes(with_packet(image.read_bytes(), theirs.encode()))
    write(image, embed=True)
    packet = (packet_of(image.read_bytes()) or b"").decode()
    assert 'one&#10;two&#9;"three' in packet and "a&#13;b" in packet


@pytest.mark.parametrize(
    "value",
    [
        '<i:A xmlns:i="IPTC" rdf:parseType="Resource"><rdf:value>mine</rdf:value></i:A>',
        '<i:A xmlns:i="IPTC"><rdf:Alt><rdf:li rdf:parseType="Resource"><rdf:value>mine</rdf:value></rdf:li></rdf:Alt>'
        "</i:A>",
        '<i:A xmlns:i="IPTC" rdf:value="mine"/>',
        '<i:A xmlns:i="IPTC"><rdf:Alt><rdf:li xml:lang="x-default"/><rdf:li xml:lang="de">mine</rdf:li></rdf:Alt>'
        "</i:A>",
        '<i:A xmlns:i="IPTC"><rdf:Bag><rdf:li><![CDATA[mine]]></rdf:li></rdf:Bag></i:A>',
        '<i:A xmlns:i="IPTC">mine</i:A>',
    ],
)
def test_alt_text_in_every_form_of_rdf_stays(value: str, tmp_path: Path) -> None:
    value = value.replace("IPTC", ALT_TEXT[0]).replace("i:A", f"i:{ALT_TEXT[2]}")
    image = photo("jpeg", tmp_path)
    packet = (LIGHTROOM % "Tom").replace("<d:subject>", f"{value}<d:subject>").encode()
    image.write_bytes(before := with_packet(image.read_bytes(), packet))
    assert alt_text(image) == "mine"
    assert [write(image, embed=True, overwrite=which).kept for which in ("nothing", "ours")] == [1, 1]
    assert image.read_bytes() == before


def test_a_translation_of_our_alt_text_is_somebodys_own(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    write(image, "first", embed=True)
    more = (packet_of(image.read_bytes()) or b"").replace(b"</rdf:li>", b'</rdf:li><rdf:li xml:lang="de">eins</rdf:li>')
    image.write_bytes(with_packet(image.read_bytes(), more))
    assert write(image, "second", embed=True, overwrite="ours").kept == 1
    write(image, "third", embed=True, overwrite="all")
    packet = Packet(packet_of(image.read_bytes()))
    assert (packet.texts(ALT_TEXT), packet.texts(DESCRIPTION)) == (["third"], ["first", "eins"])


def test_descriptions_and_alt_text_elsewhere(tmp_path: Path) -> None:
    """In IPTC's older records, in other formats, and in the file that is not written."""
    image = photo("jpeg", tmp_path)
    record = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", 8) + b"\x1c\x02\x78\0\x03Tom"
    segment = b"\xff\xed" + struct.pack(">H", len(record) + 2) + record
    image.write_bytes(image.read_bytes()[:2] + segment + image.read_bytes()[2:])
    write(image)
    assert Packet(sidecar_of(image).read_bytes()).texts(DESCRIPTION) == []
    assert write(image, embed=True).kept == 1, "its sidecar has alt text"
    tiff = tmp_path / "a.tiff"
    packet = Packet(None)
    packet.write("a tiff", True, "", None)
    picture().save(tiff, tiffinfo={700: packet.to_bytes()})
    assert write(tiff).kept == 1


def test_characters_that_xml_does_not_have(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    write(image, "a\x0bb\ud800 c\U0001f600", embed=True)
    assert alt_text(image) == "ab c\U0001f600"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_sidecars_in_utf_16(encoding: str, tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    sidecar_of(image).write_bytes(("\ufeff" + LIGHTROOM % "Tom").encode(encoding))
    write(image)
    assert Packet(sidecar_of(image).read_bytes()).text(DESCRIPTION) == "Tom"
    sidecar_of(image).write_bytes('\ufeff<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'.encode(encoding))
    with pytest.raises(LeftOutError, match="document type"):
        write(image)


def test_broken_metadata_of_the_photo_do_not_keep_a_sidecar_away(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    image.write_bytes(with_packet(image.read_bytes(), b"<no"))
    assert write(image).written == 1


def test_metadata_nested_without_end(tmp_path: Path) -> None:
    image = photo("jpeg", tmp_path)
    image.write_bytes(with_packet(image.read_bytes(), b"<a>" * 3000 + b"</a>" * 3000))
    with pytest.raises(LeftOutError, match="nested too deeply"):
        write(image, embed=True)


def test_a_photo_that_changes_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo("jpeg", tmp_path)

    def edit(_: bytes) -> bool:  # while we look for Exif, somebody saves the photo
        image.write_bytes(image.read_bytes() + b"rating")
        return False

    monkeypatch.setattr("seesay.outputs.alt_text.writer.has_description", edit)
    with pytest.raises(LeftOutError, match=r"no alt text written: it was changed meanwhile"):
        write(image, embed=True)
    assert image.read_bytes().endswith(b"rating")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["jpeg.jpg"], "no scratch file is left"


def test_damaged_photos_get_none(tmp_path: Path) -> None:
    """Somebody may be copying them just now."""
    image = photo("jpeg", tmp_path)
    with AltText(AltTextOptions(embed=True)) as writer, pytest.raises(LeftOutError, match="written: cut short"):
        writer.write(image, caption(image, warning="cut short"))


def test_undoing_gives_the_date_back(tmp_path: Path, logs: Path) -> None:
    image = photo("jpeg", tmp_path)
    os.utime(image, (10**9, 10**9))
    write(image, embed=True)
    (log,) = logs.iterdir()
    undo(log)
    assert image.stat().st_mtime == 10**9


def test_links_are_followed(tmp_path: Path, logs: Path) -> None:
    image = photo("jpeg", tmp_path)
    sidecar_of(image).symlink_to(tmp_path / "elsewhere.xmp")
    write(image)
    assert sidecar_of(image).is_symlink() and (tmp_path / "elsewhere.xmp").is_file()
    (log,) = logs.iterdir()
    assert undo(log) == (1, [])
    assert sidecar_of(image).is_symlink() and not (tmp_path / "elsewhere.xmp").exists()


def test_a_list_of_pictures_that_points_into_the_picture(tmp_path: Path) -> None:
    content = bytearray(mpo("<"))
    body = content.index(b"MPF\0") + 4
    (entry,) = (m.start() for m in re.finditer(struct.pack("<HH", 0xB002, 7), content))
    struct.pack_into("<I", content, entry + 8, len(content) - 40 - body)
    changed = with_packet(bytes(content), b"<a/>")
    assert changed[-60:] == bytes(content[-60:])


@pytest.mark.parametrize("kind", ["jpeg", "exif", "png", "webp"])
def test_a_copy_in_memory(kind: str, tmp_path: Path) -> None:
    """It holds what a changed file would, and alt text of others is replaced; their description is not."""
    image = photo(kind, tmp_path)
    before = image.read_bytes()
    said = caption(image)
    copy = with_alt_text(before, said, "a-model")
    write(image, embed=True)
    assert copy == image.read_bytes() and copy != before
    theirs = with_packet(before, (LIGHTROOM % "my cat").encode())
    packet = Packet(packet_of(with_alt_text(with_alt_text(theirs, "Tom, my cat"), said)))
    assert packet.texts(ALT_TEXT) == [said.text] and packet.text(DESCRIPTION) == "my cat"
    packet = Packet(packet_of(with_alt_text(copy, "Tom, my cat")))
    assert packet.text(ALT_TEXT) == "Tom, my cat" and not packet.texts(WRITTEN)
    assert not packet.may_write(ALT_TEXT, "ours")
    twice = Packet(packet_of(with_alt_text(with_alt_text(before, "Tom"), "Tom, my cat")))
    assert set(twice.texts(DESCRIPTION)) <= {"Tom, my cat"}, "a description that was the alt text changes with it"
    with pytest.raises(MetadataError, match="only JPEG, PNG and WebP"):
        with_alt_text(b"GIF89a", "a dog")
    with pytest.raises(ValueError, match="expected words"):
        with_alt_text(before, " \0 ")
    with pytest.raises(ValueError, match="withheld"):
        with_alt_text(before, caption(image, withheld=True))


def test_metadata_that_would_cost_much(tmp_path: Path) -> None:
    """Entities that unfold to millions of elements, and files in millions of parts, are refused at once."""
    levels = ['<!ENTITY a "<a/>">', *(f'<!ENTITY {b} "{f"&{a};" * 100}">' for a, b in pairwise("abcd"))]
    bomb = f"<!DOCTYPE x [{''.join(levels)}]><x>{'&d;' * 100}</x>".encode()
    start = process_time()
    with pytest.raises(MetadataError, match="document type"):
        Packet(bomb)
    for many in (
        b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000 + b"\xff\xd9",
        b"RIFF" + struct.pack("<I", 4 + 8 * 200_000) + b"WEBP" + b"abcd\0\0\0\0" * 200_000,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 200_000,
    ):
        with pytest.raises(MetadataError, match="more than 100,000 parts"):
            with_alt_text(many, "a dog")
    assert packet_of(b"\xff\xd8" + b"\xff" * 10**7 + b"\xd9") is None
    assert process_time() - start < 5


def test_a_webp_of_no_size() -> None:
    picture = b"VP8 \x0a\0\0\0" + bytes(10)
    with pytest.raises(MetadataError, match="WebP chunks are broken"):
        with_packet(b"RIFF" + struct.pack("<I", 4 + len(picture)) + b"WEBP" + picture, b"<x/>")


def test_captions_that_are_not_written(tmp_path: Path, logs: Path) -> None:
    image = photo("jpeg", tmp_path)
    with AltText(AltTextOptions(embed=True)) as writer:
        writer.write(image, caption(image, withheld=True))
        writer.write(image, Failure(str(image), "broken"))
    assert writer.summary == ["wrote alt text for 0 photos"]
    assert not logs.exists()


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for seed in range(3):
        write_photo(folder / f"{seed}.png", seed)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture
def embed(cli: Cli, holiday: Path, tiny_bundle: Path) -> Callable[..., Done]:
    return lambda *options: cli("caption", holiday, "--model", tiny_bundle, *options)


def test_the_command(cli: Cli, embed: Callable[..., Done], holiday: Path, tiny_bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in holiday.iterdir()}
    done = embed("--embed", "--dry-run")
    assert done.code == 1 and "would write alt text for 3 photos; nothing was changed" in done.err
    assert before == {path.name: path.read_bytes() for path in holiday.iterdir()}
    done = embed("--embed")
    assert done.code == 1 and "seesay: wrote alt text for 3 photos\n" in done.err
    texts = dict(line.rsplit(": ", 1) for line in done.out.splitlines())
    assert {str(holiday / f"{seed}.png"): alt_text(holiday / f"{seed}.png") for seed in range(3)} == texts
    (log,) = re.findall(r"to undo that: seesay caption --undo (\S+)", done.err)
    write_photo(holiday / "new.png", 9)
    done = embed("--embed")
    assert list(dict(line.rsplit(": ", 1) for line in done.out.splitlines())) == [str(holiday / "new.png")]
    assert "wrote alt text for 1 photo, 3 had it already" in done.err
    done = embed("--embed", "--json", "o.jsonl")
    assert len(done.out.splitlines()) == 4, "another output wants all captions"
    done = cli("caption", "--undo", log)
    assert (done.code, done.err) == (0, "seesay: 3 files as before\n")
    assert before == {path.name: path.read_bytes() for path in holiday.iterdir() if path.name != "new.png"}
    assert json.loads(Path(log).read_text().splitlines()[0])["sidecar"] is False


def test_a_stopped_run_says_how_to_undo_it(
    embed: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = iter(range(9))

    def stop(self: AltText, *_: Any) -> None:
        if next(photos) == 2:
            raise KeyboardInterrupt
        original(self, *_)

    original = AltText.write
    monkeypatch.setattr(AltText, "write", stop)
    done = embed("--sidecar")
    assert done.code and "to undo that: seesay caption --undo" in done.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--sidecar", "--embed"], "--sidecar and --embed: give one of the two"),
        (["--overwrite", "ours"], "--overwrite: only with --sidecar or --embed"),
        (["--dry-run"], "--dry-run: only with --sidecar or --embed"),
        (["--undo", "log"], "--undo knows its files from the log: give no photos"),
        (["--embed", "--cluster", "local", "--parquet", "o"], "--cluster needs --parquet OUT, and has no other output"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], problem: str, embed: Callable[..., Done]) -> None:
    done = embed(*options)
    assert done.code == 2 and problem in " ".join(done.err.split())


def test_no_photos(cli: Cli) -> None:
    done = cli("caption", "--embed")
    assert done.code == 2 and "which photos? Give files or folders" in done.err
