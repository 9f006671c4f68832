"""Drawing a figure that shows the attention of each word of a caption."""

from __future__ import annotations

import math
from pathlib import PurePath

from PIL import Image

from seesay.caption import Caption
from seesay.explain.lettering import fit, percent, width, wrap, write_text
from seesay.explain.overlay import draw_overlay

INK, MUTED, PAPER = (28, 27, 25), (128, 122, 112), (255, 255, 255)
MARGIN, GAP = 36, 20
# the same area for every photo, except very elongated ones
TILE_AREA, LONGEST, NARROWEST = 248 * 186, 400, 132
HEADING, LABEL, SMALL = 30, 20, 15
LABEL_HEIGHT = 38


def draw_figure(image: Image.Image, caption: Caption, columns: int | None = None) -> Image.Image:
    """The caption, the photo, and for each word a tile with its attention.

    Figures of Show, Attend and Tell look like this.

    Args:
        image: the upright photo, any mode and size.
        caption: the photo's caption; the tile of each word also has its probability.
        columns: tiles in a row; None: 4, 5 or 6, whichever leaves the fewest gaps.

    Returns:
        an RGB image on white. Tiles have about 248 x 186 pixels whatever the photo's size.

    Raises:
        ValueError: `columns` is below 1, or a word's attention is not (rows, cols) weights.
    """
    tiles = 1 + len(caption.words)
    columns = _columns(tiles, columns)
    photo = _resized(image)
    cell = (max(photo.width, NARROWEST), photo.height + LABEL_HEIGHT)
    inner = columns * (cell[0] + GAP) - GAP
    heading = wrap(caption.text, HEADING, inner)
    top = MARGIN + round(len(heading) * HEADING * 1.3) + GAP
    rows = math.ceil(tiles / columns)
    canvas = Image.new("RGB", (inner + 2 * MARGIN, top + rows * (cell[1] + GAP) - GAP + MARGIN), PAPER)
    for line, text in enumerate(heading):
        write_text(canvas, (MARGIN, MARGIN + round(line * HEADING * 1.3)), text, HEADING, INK)
    for index, tile in enumerate(_tiles(photo, caption, cell)):
        row, column = divmod(index, columns)
        canvas.paste(tile, (MARGIN + column * (cell[0] + GAP), top + row * (cell[1] + GAP)))
    return canvas


def _columns(tiles: int, columns: int | None) -> int:
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    best = min((5, 6, 4), key=lambda number: -tiles % number)
    return min(columns or best, tiles)


def _resized(image: Image.Image) -> Image.Image:
    """The photo at the size of a tile, with its aspect ratio; at least one pixel wide and high."""
    aspect = image.width / image.height
    wide = min(math.sqrt(TILE_AREA * aspect), LONGEST, LONGEST * aspect)
    size = (max(1, round(wide)), max(1, round(wide / aspect)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _tiles(photo: Image.Image, caption: Caption, cell: tuple[int, int]) -> list[Image.Image]:
    name = PurePath(caption.image).name if caption.image else "photo"
    first = _tile(photo, cell, name, "", MUTED)
    return [first] + [
        _tile(draw_overlay(photo, word.attention, chosen=word.chosen), cell, word.text, percent(word.logprob), INK)
        for word in caption.words
    ]


def _tile(photo: Image.Image, cell: tuple[int, int], label: str, note: str, ink: tuple[int, int, int]) -> Image.Image:
    """A photo with a label below it on the left and a note on the right."""
    tile = Image.new("RGB", cell, PAPER)
    tile.paste(photo, (0, 0))
    size = LABEL if note else SMALL
    base = photo.height + 27
    max_width = cell[0] - (width(note, SMALL) + 10 if note else 0)
    write_text(tile, (0, base), fit(label, size, max_width), size, ink, anchor="ls")
    if note:
        write_text(tile, (cell[0] - width(note, SMALL), base), note, SMALL, MUTED, anchor="ls")
    return tile
