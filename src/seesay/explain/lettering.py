"""Words drawn with Pillow: a font that has their letters, lines that fit a width."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow's own font has hardly more than ASCII; these are looked up by name where the system keeps its fonts.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "segoeui.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansArabic-Regular.ttf",
)


def percent(logprob: float) -> str:
    """A log-probability as a reader wants it: '87%', '<1%'."""
    value = 100 * math.exp(min(logprob, 0.0))
    return "<1%" if value < 1 else f"{value:.0f}%"


def drawable(text: str, size: float) -> tuple[str, Font]:
    """The text as it can be drawn, and the font to draw it with.

    Pillow's bundled font where it has every letter, else the font of this machine that lacks the fewest. Letters it
    lacks lose their accents, which reads better than empty boxes.
    """
    fonts = (bundled(size), *(() if text.isascii() else system_fonts(size)))
    font = min(fonts, key=lambda font: sum(not has_glyph(font, letter) for letter in text))
    return "".join(letter if has_glyph(font, letter) else _plain(letter) for letter in text), font


def _plain(letter: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))


@lru_cache(maxsize=32)
def bundled(size: float) -> Font:
    """Pillow's own scalable font."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=32)
def system_fonts(size: float) -> tuple[Font, ...]:
    """Those of `SYSTEM_FONTS` that this machine has."""
    found: list[Font] = []
    for name in SYSTEM_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)


@lru_cache(maxsize=4096)
def has_glyph(font: Font, letter: str) -> bool:
    """Whether the font draws something else than its box for missing letters (U+FFFF never has a glyph)."""
    return letter.isspace() or _drawn(font, letter) != _drawn(font, "\uffff")


def _drawn(font: Font, letter: str) -> bytes:
    canvas = Image.new("1", (64, 64))
    ImageDraw.Draw(canvas).text((0, 0), letter, 1, font)
    return canvas.tobytes()


def width(text: str, size: float) -> float:
    """Pixels from the text's left to its right."""
    text, font = drawable(text, size)
    return font.getlength(text)


def fit(text: str, size: float, room: float) -> str:
    """The text, its end replaced by an ellipsis where it is wider than `room` pixels."""
    if width(text, size) <= room:
        return text
    while text and width(f"{text}...", size) > room:
        text = text[:-1]
    return f"{text}..."


def wrap(text: str, size: float, room: float) -> list[str]:
    """Lines of at most `room` pixels, broken at blanks; a word wider than a line is cut short."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width(joined, size) <= room:
            lines[-1] = joined
        else:
            lines.append(fit(word, size, room))
    return lines
