"""Building the encoder and decoder of a recipe."""

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
DEFAULT_EMBEDDING_SIZE = 300  # width of random word vectors if embedding.size is null


def build_encoder(recipe: Recipe) -> Encoder:
    """The recipe's encoder with its weights; see `load_encoder`."""
    encoder = recipe.encoder
    return load_encoder(encoder.name, encoder.weights, recipe.images.size, encoder.layer, encoder.finer)


def build_decoder(recipe: Recipe, encoder: Encoder, vocab_size: int, table: np.ndarray | None = None) -> Decoder:
    """The recipe's decoder with random weights.

    Args:
        recipe: the sections embedding, attention and decoder and `encoder.self_attention` are used.
        encoder: gives the size of the regions and the grid.
        vocab_size: V.
        table: (V, m) initial word vectors; None for random ones.
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
            finer_depth=encoder.finer_depth,
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
        finer_depth=encoder.finer_depth,
        dropout=decoder.dropout,
    )


def build_embedding(recipe: Recipe, vocab_size: int, table: np.ndarray | None = None) -> WordEmbedding:
    """The recipe's word embedding; see `build_decoder`."""
    part = recipe.embedding
    table_size = part.size or DEFAULT_EMBEDDING_SIZE if table is None else table.shape[1]
    embedding = WordEmbedding(vocab_size, part.size or table_size, table_size, part.tied, part.train)
    if table is not None:
        with torch.no_grad():
            embedding.weight.copy_(torch.from_numpy(table))
    return embedding
