"""Recipe -> model."""

from __future__ import annotations

from seesay.config import Recipe
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.models.recurrent import RecurrentDecoder


def build_decoder(recipe: Recipe, encoder: Encoder, vocab_size: int) -> Decoder:
    """The decoder that a recipe asks for, with fresh weights."""
    return RecurrentDecoder(
        region_size=encoder.depth,
        vocab_size=vocab_size,
        size=recipe.decoder.size,
        embedding_size=recipe.embedding.size or 300,
        attention_size=recipe.attention.size,
        dropout=recipe.decoder.dropout,
    )
