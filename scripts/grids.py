"""Print the grids and layers of encoders (docs/model.md): `python scripts/grids.py [NAME@SIZE
...]`.
"""

from __future__ import annotations

import sys

import torch

from seesay.models.encoder_weights import load_encoder
from seesay.models.stages import stages

KNOWN = ("vgg16@224", "resnet50@224", "resnet101@224", "resnet152@224", "inception_v3@299", "efficientnet_b0@224")
KNOWN += ("tf_efficientnet_lite2@256", "convnext_tiny@224", "swin_tiny_patch4_window7_224@224")
KNOWN += ("vit_base_patch16_224@224", "vit_small_patch14_dinov2@224")


def row(name: str, size: int) -> str:
    """A line of the table; no memory is allocated for weights."""
    with torch.device("meta"):
        encoder = load_encoder(name, "none", size)
        known = stages(encoder.backbone.eval(), torch.zeros(1, 3, size, size))
    rows, cols = encoder.grid
    layers = ", ".join(f"`{stage.module}` {stage.rows}x{stage.cols}x{stage.depth}" for stage in known[-4:])
    return f"| `{name}` | {size} | {rows}x{cols}x{encoder.depth} | {len(known)} | {layers} |"


if __name__ == "__main__":
    print("| encoder | size | at the end | stages | the last four |\n|---|---|---|---|---|")
    for wanted in sys.argv[1:] or KNOWN:
        name, _, size = wanted.partition("@")
        print(row(name, int(size)))
