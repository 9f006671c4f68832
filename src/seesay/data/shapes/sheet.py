"""A contact sheet of the set: `python -m seesay.data.shapes.sheet OUT.png`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

from seesay.data.shapes.dataset import HELD_OUT_COUNTS, STARTS
from seesay.data.shapes.grammar import write_captions
from seesay.data.shapes.picture import SIDE, draw_picture

MARGIN, TEXT = 10, 72  # pixels around a picture, and below it for its caption


def contact_sheet(
    numbers: Iterable[int] = range(STARTS["test"], STARTS["test"] + 8), seed: int = 0, columns: int = 4
) -> Image.Image:
    """Pictures of the test split with their first captions, twice their size.

    Args:
        numbers: of the pictures, as `draw_picture` counts.
        seed: of the set.
        columns: pictures side by side.
    """
    cells = [_cell(seed, number) for number in numbers]
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), "white")
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place % columns * width, place // columns * height))
    return sheet


def _cell(seed: int, number: int) -> Image.Image:
    pixels, objects = draw_picture(seed, number, HELD_OUT_COUNTS)
    side = 2 * SIDE
    cell = Image.new("RGB", (side + 2 * MARGIN, side + MARGIN + TEXT), "white")
    cell.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), (MARGIN, MARGIN))
    text = textwrap.fill(write_captions(seed, number, objects)[0], 38)
    ImageDraw.Draw(cell).text((MARGIN, MARGIN + side + 4), text, fill="black", font=ImageFont.load_default(13))
    return cell


if __name__ == "__main__":
    contact_sheet().save(sys.argv[1], optimize=True)
