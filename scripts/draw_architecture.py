"""Draw the picture of docs/architecture.md: `python scripts/draw_architecture.py OUT.svg`.

It shows how a photo, a caption and an attention row pass through training and captioning.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 1000, 700
BOX_WIDTH, BOX_HEIGHT = 138, 50
COLOURS = {"photo": "#2f6fb0", "caption": "#3a8a4d", "attention": "#c8641b"}


class Box(NamedTuple):
    """A step: the middle of its box, its name, and the package that does it."""

    x: int
    y: int
    text: str
    package: str


BOXES = {
    "train photo": Box(90, 110, "photo", "a file"),
    "train transform": Box(270, 110, "ImageTransform", "data/images"),
    "train encoder": Box(450, 110, "Encoder: Features", "models, cached by data"),
    "row": Box(90, 230, "Row", "data/readers"),
    "record": Box(270, 230, "CaptionRecord", "data/readers"),
    "ids": Box(450, 230, "token ids", "data/tokens.py"),
    "batch": Box(630, 170, "CaptionBatch", "training/inputs"),
    "forward": Box(810, 170, "Decoder.forward", "models"),
    "loss": Box(810, 270, "loss", "training/objectives"),
    "bundle": Box(630, 270, "bundle", "export, bundle"),
    "photo": Box(90, 420, "photo", "path, array, ..."),
    "transform": Box(270, 420, "ImageTransform", "data/images"),
    "encoder": Box(450, 420, "encoder.onnx", "runtime"),
    "encoded": Box(630, 420, "EncodedPhoto", "runtime"),
    "search": Box(630, 530, "beam, sample, score", "search"),
    "step": Box(810, 530, "decoder.onnx: step", "runtime"),
    "hypothesis": Box(450, 530, "Hypothesis", "search"),
    "caption": Box(270, 530, "Caption: Words", "runtime/model.py"),
    "outputs": Box(90, 490, "JSON, CSV, ...", "outputs"),
    "explain": Box(90, 570, "figure, page", "explain"),
    "metrics": Box(90, 650, "Scores, pointing", "metrics, evaluation"),
}
# (from, to, what travels, label, x and y of the label)
ARROWS = [
    ("train photo", "train transform", "photo", "", 0, 0),
    ("train transform", "train encoder", "photo", "", 0, 0),
    ("train encoder", "batch", "photo", "regions (B, P, D)", 594, 122),
    ("row", "record", "caption", "", 0, 0),
    ("record", "ids", "caption", "", 0, 0),
    ("ids", "batch", "caption", "tokens (B, K, L)", 594, 228),
    ("batch", "forward", "caption", "", 0, 0),
    ("forward", "loss", "caption", "logits, attention (B, K, L, P)", 818, 224),
    ("loss", "bundle", "caption", "weights", 720, 238),
    ("photo", "transform", "photo", "", 0, 0),
    ("transform", "encoder", "photo", "", 0, 0),
    ("encoder", "encoded", "photo", "", 0, 0),
    ("encoded", "search", "photo", "state, memory", 640, 480),
    ("search", "step", "caption", "token", 720, 496),
    ("step", "search", "attention", "log p, row (B, K, P)", 720, 574),
    ("search", "hypothesis", "attention", "", 0, 0),
    ("hypothesis", "caption", "attention", "(tokens, P)", 360, 496),
    ("caption", "outputs", "attention", "", 0, 0),
    ("caption", "explain", "attention", "(rows, cols)", 290, 574),
    ("caption", "metrics", "attention", "", 0, 0),
]


def edge(box: Box, towards: Box, shift: int) -> tuple[float, float]:
    """The point where a line from the middle of a box to that of another leaves the first box."""
    across, down = towards.x - box.x, towards.y - box.y
    if abs(across) * BOX_HEIGHT > abs(down) * BOX_WIDTH:
        step = BOX_WIDTH / 2 if across > 0 else -BOX_WIDTH / 2
        return box.x + step, box.y + (down / across) * step + shift
    step = BOX_HEIGHT / 2 if down > 0 else -BOX_HEIGHT / 2
    return box.x + (across / down) * step + shift, box.y + step


def text(x: float, y: float, content: str, style: str) -> str:
    """A line of text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(content)}</text>'


def draw() -> str:
    """The picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{colour}"/></marker>'
            for name, colour in COLOURS.items()
        ),
        "</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(21, 54, "Training", 'font-size="20" font-weight="bold" fill="#1c1b19"'),
        text(21, 364, "Captioning", 'font-size="20" font-weight="bold" fill="#1c1b19"'),
        f'<line x1="20" y1="326" x2="{WIDTH - 20}" y2="326" stroke="#e2ded6"/>',
    ]
    for index, (name, colour) in enumerate(COLOURS.items()):
        x = 560 + 140 * index
        parts.append(f'<line x1="{x}" y1="48" x2="{x + 30}" y2="48" stroke="{colour}" stroke-width="3"/>')
        parts.append(text(x + 38, 53, name, 'font-size="14" fill="#1c1b19"'))
    for start, end, what, label, x, y in ARROWS:
        shift = {("search", "step"): -8, ("step", "search"): 8}.get((start, end), 0)
        (x1, y1), (x2, y2) = edge(BOXES[start], BOXES[end], shift), edge(BOXES[end], BOXES[start], shift)
        parts.append(
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{COLOURS[what]}" '
            f'stroke-width="2" marker-end="url(#{what})"/>'
        )
        if label:
            anchor = "start" if start in ("forward", "encoded") else "middle"
            parts.append(text(x, y, label, f'font-size="12" text-anchor="{anchor}" fill="#6e6960"'))
    for box in BOXES.values():
        left, top = box.x - BOX_WIDTH / 2, box.y - BOX_HEIGHT / 2
        parts.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
            'fill="#f6f4ef" stroke="#8d887e"/>'
        )
        parts.append(text(box.x, box.y - 3, box.text, 'font-size="13" text-anchor="middle" fill="#1c1b19"'))
        parts.append(text(box.x, box.y + 15, box.package, 'font-size="11" text-anchor="middle" fill="#6e6960"'))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
