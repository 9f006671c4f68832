"""Recipe -> model."""

from __future__ import annotations

import numpy as np
import torch

from seesay.config import Recipe
from seesay.models.decoder import Decoder
from seesay.models.embedding import WordEmbedding
from seesay.models.encoder import Encoder
from seesay.models.recurrent import RecurrentDecoder


def build_decoder(recipe: Recipe, encoder: Encoder, vocab_size: int, table: np.ndarray | None = None) -> Decoder:
    """The decoder that a recipe asks for, with fresh weights.

    Args:
        table: (V, m) word vectors to start from, of any width; None: random ones of the embedding's width.
    """
    size = recipe.embedding.size or (300 if table is None else table.shape[1])
    decoder = RecurrentDecoder(
        region_size=encoder.depth,
        vocab_size=vocab_size,
        size=recipe.decoder.size,
        embedding_size=size,
        attention_size=recipe.attention.size,
        dropout=recipe.decoder.dropout,
    )
    width = None if table is None else table.shape[1]
    decoder.embedding = WordEmbedding(vocab_size, size, width, recipe.embedding.tied, recipe.embedding.train)
    if table is not None:
        with torch.no_grad():
            decoder.embedding.weight.copy_(torch.from_numpy(table))
    return decoder
