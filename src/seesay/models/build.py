"""Recipe -> model."""

from __future__ import annotations

import numpy as np
import torch

from seesay.config import Recipe
from seesay.models.adaptive import Adaptive
from seesay.models.decoder import Decoder
from seesay.models.embedding import WordEmbedding
from seesay.models.encoder import Encoder
from seesay.models.encoder_weights import load_encoder
from seesay.models.recurrent import RecurrentDecoder
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.models.transformer import TransformerDecoder
from seesay.models.up_down import UpDown

DESIGNS: dict[str, type[RecurrentDecoder]] = {
    "show_attend_tell": ShowAttendTell,
    "adaptive": Adaptive,
    "up_down": UpDown,
}
LEARNED_SIZE = 300  # of word vectors that a recipe says nothing about


def build_encoder(recipe: Recipe) -> Encoder:
    """The encoder that a recipe asks for, with its weights; see `load_encoder`."""
    encoder = recipe.encoder
    return load_encoder(encoder.name, encoder.weights, recipe.images.size, encoder.layer)


def build_decoder(recipe: Recipe, encoder: Encoder, vocab_size: int, table: np.ndarray | None = None) -> Decoder:
    """The decoder that a recipe asks for, with fresh weights.

    Args:
        recipe: sections embedding, attention and decoder, and `encoder.self_attention`.
        encoder: whose regions it reads.
        vocab_size: V.
        table: (V, m) word vectors to start from; None: random ones.
    """
    embedding = build_embedding(recipe, vocab_size, table)
    attention, decoder = recipe.attention, recipe.decoder
    if decoder.kind == "transformer":
        return TransformerDecoder(
            embedding,
            encoder.depth,
            encoder.grid,
            size=decoder.size,
            layers=decoder.layers,
            heads=recipe.heads,
            self_attention=recipe.encoder.self_attention,
            dropout=decoder.dropout,
        )
    assert recipe.design is not None
    return DESIGNS[recipe.design](
        embedding,
        encoder.depth,
        encoder.grid,
        size=decoder.size,
        cell=decoder.kind,
        layers=decoder.layers,
        score=recipe.score,
        attention_size=attention.size,
        heads=recipe.heads,
        hard=attention.kind == "hard",
        self_attention=recipe.encoder.self_attention,
        dropout=decoder.dropout,
    )


def build_embedding(recipe: Recipe, vocab_size: int, table: np.ndarray | None = None) -> WordEmbedding:
    """The words' vectors that a recipe asks for; see `build_decoder`."""
    asked = recipe.embedding
    width = asked.size or LEARNED_SIZE if table is None else table.shape[1]
    embedding = WordEmbedding(vocab_size, asked.size or width, width, asked.tied, asked.train)
    if table is not None:
        with torch.no_grad():
            embedding.weight.copy_(torch.from_numpy(table))
    return embedding
