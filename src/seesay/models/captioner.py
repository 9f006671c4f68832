"""Captioner: an encoder and a decoder joined."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder


class Captioner(nn.Module):
    """Photo -> regions -> words.

    Args:
        encoder: photos -> regions.
        decoder: regions -> words.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def prepare(self, images: Tensor) -> Any:
        """(B, 3, size, size) normalised photos -> the decoder's `Memory`."""
        return self.decoder.prepare(self.encoder(images).regions)
