"""Drawing text with Pillow: choosing fonts, and fitting text into a width."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow's bundled font covers little more than ASCII; these are looked up by name among the
# system's fonts.
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
    """A log-probability as a percentage for readers: '87%', '<1%'."""
    value = 100 * math.exp(min(logprob, 0.0))
    return "<1%" if value < 1 else f"{value:.0f}%"


def drawable(text: str, size: float) -> tuple[str, Font]:
    """Choose a font for a text, and replace the letters that the font lacks.

    The font is Pillow's bundled one if it has every letter, else the system font that lacks the
    fewest. Missing letters are drawn without their accents.
    """
    fonts = (bundled(size), *(() if text.isascii() else system_fonts(size)))
    font = min(fonts, key=lambda font: sum(not has_glyph(font, letter) for letter in text))
    return "".join(letter if has_glyph(font, letter) else _plain(letter) for letter in text), font


def _plain(letter: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))


@lru_cache(maxsize=32)
def bundled(size: float) -> Font:
    """Pillow's bundled scalable font."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=32)
def system_fonts(size: float) -> tuple[Font, ...]:
    """Those of `SYSTEM_FONTS` that are installed."""
    fonts: list[Font] = []
    for name in SYSTEM_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(fonts)


@lru_cache(maxsize=4096)
def has_glyph(font: Font, letter: str) -> bool:
    """Whether a font has a letter.

    If so, the letter looks different from U+FFFF, which no font has.
    """
    return letter.isspace() or _drawn(font, letter) != _drawn(font, "\uffff")


def _drawn(font: Font, letter: str) -> bytes:
    canvas = Image.new("1", (64, 64))
    ImageDraw.Draw(canvas).text((0, 0), letter, 1, font)
    return canvas.tobytes()


def width(text: str, size: float) -> float:
    """The width of a text in pixels."""
    text, font = drawable(text, size)
    return font.getlength(text)


def fit(text: str, size: float, max_width: float) -> str:
    """The text, shortened with an ellipsis if it is wider than `max_width` pixels."""
    if width(text, size) <= max_width:
        return text
    while text and width(f"{text}...", size) > max_width:
        text = text[:-1]
    return f"{text}..."


def wrap(text: str, size: float, max_width: float) -> list[str]:
    """Break a text at spaces into lines up to `max_width` pixels; wider words are shortened."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width(joined, size) <= max_width:
            lines[-1] = joined
        else:
            lines.append(fit(word, size, max_width))
    return lines


def write_text(
    canvas: Image.Image,
    xy: tuple[float, float],
    text: str,
    size: int,
    ink: tuple[int, int, int],
    anchor: str = "la",
) -> None:
    """Draw a line of text.

    Args:
        canvas: is drawn on.
        xy: the position of the anchor in pixels.
        text: replaced as by `drawable`.
        size: the size of the font in pixels.
        ink: RGB.
        anchor: Pillow's, such as "la" for the upper left corner.
    """
    text, font = drawable(text, size)
    ImageDraw.Draw(canvas).text(xy, text, ink, font, anchor=anchor)
