"""Draw a contact sheet of the shapes: `python scripts/shapes_sheet.py docs/images/shapes.png`.

Draws the first eight pictures of the test split, twice their size, each with its first caption.
"""

from __future__ import annotations

import sys
import textwrap

from PIL import Image, ImageDraw, ImageFont

from seesay.data.shapes.dataset import HELD_OUT_COUNTS, STARTS
from seesay.data.shapes.grammar import write_captions
from seesay.data.shapes.picture import SIDE, draw_picture

SEED, NUMBER, COLUMNS = 0, 8, 4
MARGIN, TEXT = 10, 72  # pixels around a picture, and below it for its caption


def draw_cell(picture: int) -> Image.Image:
    """One picture with its first caption below."""
    pixels, objects = draw_picture(SEED, picture, HELD_OUT_COUNTS)
    side = 2 * SIDE
    cell = Image.new("RGB", (side + 2 * MARGIN, side + MARGIN + TEXT), "white")
    enlarged = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
    cell.paste(enlarged, (MARGIN, MARGIN))
    text = textwrap.fill(write_captions(SEED, picture, objects)[0], 38)
    font = ImageFont.load_default(13)
    ImageDraw.Draw(cell).text((MARGIN, MARGIN + side + 4), text, fill="black", font=font)
    return cell


def main() -> None:
    """Draw the sheet."""
    first = STARTS["test"]
    cells = [draw_cell(picture) for picture in range(first, first + NUMBER)]
    width, height = cells[0].size
    sheet = Image.new("RGB", (COLUMNS * width, NUMBER // COLUMNS * height), "white")
    for index, cell in enumerate(cells):
        row, column = divmod(index, COLUMNS)
        sheet.paste(cell, (column * width, row * height))
    sheet.save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
