"""Contradictions between keys of a recipe.

Each function checks one section and yields a line for each combination of values that is not
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from seesay.config.sections import (
    AttentionSection,
    DataSection,
    DecoderSection,
    EmbeddingSection,
    EncoderSection,
    ImagesSection,
    SearchSection,
    TokensSection,
    TrainSection,
)

DEVICES = r"auto|-1|[1-9]\d*|\d+(,\d+)+"
BOXED = "boxed"  # `data.only`: the photos that have boxes


def parse_part(part: str) -> tuple[int, int] | None:
    """The text K/N -> (K, N), part K of N, 1 <= K <= N and N >= 2; None for any other text."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    if match is None:
        return None
    number, parts = int(match[1]), int(match[2])
    return (number, parts) if 1 <= number <= parts and parts > 1 else None


def data_rules(data: DataSection) -> Iterator[str]:
    """`data.only` and `data.leave_out`."""
    for key, part in (("data.only", data.only), ("data.leave_out", data.leave_out)):
        boxed = (key, part) == ("data.only", BOXED)
        if part is not None and not boxed and parse_part(part) is None:
            yield (f"{key}={part}: expected K/N, the K-th of N equal parts of the training photos, such as 1/3")
    if data.only is not None and data.leave_out is not None:
        yield (f"data.only={data.only}: cannot be combined with data.leave_out={data.leave_out}; leave one of them out")


def encoder_rules(encoder: EncoderSection, images: ImagesSection, train: TrainSection) -> Iterator[str]:
    """`images.views`, and a loss that needs a trained encoder."""
    if images.views is not None and not images.augment:
        yield (
            f"images.views={images.views}: caches augmented variants of photos, but "
            "images.augment=false; set images.augment=true or leave views out"
        )
    if images.views is not None and encoder.finetune == "all":
        yield (
            f"images.views={images.views}: caches features of the frozen part of the encoder, but "
            "encoder.finetune=all leaves none frozen; leave views out or train fewer stages"
        )
    if train.words_seen > 0 and encoder.finetune == "none":
        yield (
            f"train.words_seen={train.words_seen:g}: only affects the encoder, but "
            "encoder.finetune=none trains none of it; set encoder.finetune or leave words_seen at 0"
        )


def token_rules(tokens: TokensSection, embedding: EmbeddingSection, search: SearchSection) -> Iterator[str]:
    """Subwords have no pretrained vectors, and must be allowed to repeat."""
    if tokens.kind != "bpe":
        return
    if embedding.kind == "glove":
        yield (
            "embedding.kind=glove: has vectors of words, but tokens.kind=bpe splits words into "
            "subwords; set tokens.kind=word"
        )
    if embedding.kind == "word2vec" and embedding.path is not None:
        yield (
            f"embedding.path={embedding.path}: has vectors of words, but tokens.kind=bpe splits "
            "words into subwords; leave the path out to train word2vec on the subwords, or set "
            "tokens.kind=word"
        )
    if search.block_words:
        yield (
            "search.block_words=true: would block subwords that different words share; leave it at "
            "false, or set tokens.kind=word"
        )


def embedding_rules(embedding: EmbeddingSection) -> Iterator[str]:
    """Word vectors that start at random have no file and must be trained."""
    if embedding.kind != "learned":
        return
    if embedding.path is not None:
        yield (
            f"embedding.path={embedding.path}: is not read with embedding.kind=learned; set "
            "embedding.kind to word2vec or glove, or leave the path out"
        )
    if not embedding.train:
        yield (
            "embedding.train=false: random word vectors (embedding.kind=learned) must be trained; "
            "set embedding.kind to word2vec or glove, or train to true"
        )


def attention_rules(attention: AttentionSection, decoder: DecoderSection) -> Iterator[str]:
    """Heads must divide the widths; hard attention needs one head and a recurrent decoder."""
    heads, transformer = attention.heads or 1, decoder.kind == "transformer"
    if decoder.size % heads != 0:
        yield (
            f"attention.heads={heads}: does not divide decoder.size={decoder.size}, of which each "
            "head gets an equal share; change one of them"
        )
    if not transformer and attention.size % heads != 0:
        yield (
            f"attention.heads={heads}: does not divide attention.size={attention.size}, of which "
            "each head gets an equal share; change one of them"
        )
    if attention.kind == "hard" and heads > 1:
        yield (
            f"attention.heads={heads}: attention.kind=hard chooses a single region for each word "
            "and needs one head; leave heads out"
        )
    if attention.kind == "hard" and transformer:
        yield (
            "attention.kind=hard: is not implemented for decoder.kind=transformer; set decoder.kind "
            "to rnn, lstm or gru, or attention.kind to soft"
        )
    if transformer and attention.score not in (None, "scaled_dot"):
        yield (
            f"attention.score={attention.score}: decoder.kind=transformer always uses scaled_dot; leave the score out"
        )


def design_rules(decoder: DecoderSection, attention: AttentionSection) -> Iterator[str]:
    """Designs need a recurrent decoder, and some fix its cell, heads or layers."""
    heads = attention.heads or 1
    if decoder.kind == "transformer" and decoder.design is not None:
        yield (
            f"decoder.design={decoder.design}: is a design of recurrent decoders, but "
            "decoder.kind=transformer; set decoder.kind to rnn, lstm or gru, or leave the design out"
        )
    if decoder.design == "adaptive" and decoder.kind != "lstm":
        yield (
            f"decoder.design=adaptive: needs the cell state of an LSTM, but "
            f"decoder.kind={decoder.kind}; set decoder.kind=lstm"
        )
    if decoder.design == "adaptive" and heads > 1:
        yield (
            f"attention.heads={heads}: decoder.design=adaptive compares its sentinel with a single "
            "context and needs one head; leave heads out"
        )
    if decoder.design in ("adaptive", "up_down") and decoder.layers > 1:
        yield (
            f"decoder.layers={decoder.layers}: decoder.design={decoder.design} has a fixed number "
            "of layers; leave layers at 1"
        )


def train_rules(train: TrainSection) -> Iterator[str]:
    """Devices, warm-up and the number of epochs."""
    if not re.fullmatch(DEVICES, str(train.devices)):
        yield (
            f"train.devices={train.devices}: expected auto, a number from 1, -1 for all, or a list "
            "of devices such as 0,1"
        )
    if train.warmup >= 1:
        yield (
            "train.warmup=1: is the share of the steps with warm-up and would be the whole run; give a number below 1"
        )
    if train.epochs == 0 and not train.init:
        yield (
            "train.epochs=0: would write a bundle with random weights; give the model to start from "
            "with train.init=BUNDLE, or 1 epoch or more"
        )


def self_critical_rules(train: TrainSection, attention: AttentionSection) -> Iterator[str]:
    """Requirements of self-critical training, and keys that need it."""
    if train.objective != "self_critical":
        for key, weight in (
            ("bleu_weight", train.bleu_weight),
            ("cross_entropy_weight", train.cross_entropy_weight),
        ):
            if weight > 0:
                yield (f"train.{key}={weight:g}: only affects train.objective=self_critical; leave it at 0")
        return
    if not train.init:
        yield ("train.objective=self_critical: needs a trained model to start from; give train.init=BUNDLE")
    yield from _sentence_rules(train)
    if train.doubly_stochastic > 0 and train.cross_entropy_weight == 0:
        yield (
            f"train.doubly_stochastic={train.doubly_stochastic:g}: is a part of the cross-entropy, "
            "which train.objective=self_critical leaves out unless train.cross_entropy_weight is "
            "set; set that, or leave doubly_stochastic at 0"
        )
    if train.scheduled_sampling > 0:
        yield (
            f"train.scheduled_sampling={train.scheduled_sampling:g}: does not affect "
            "train.objective=self_critical, which reads the model's own words; leave it at 0"
        )
    if attention.kind == "hard":
        yield (
            "attention.kind=hard: cannot be combined with train.objective=self_critical, because "
            "both sample; set attention.kind=soft"
        )


def _sentence_rules(train: TrainSection) -> Iterator[str]:
    """Which sentences can be compared with which baseline."""
    drawn = train.sentences == "drawn"
    if train.samples == 1 and not (drawn and train.baseline == "greedy"):
        yield (
            f"train.samples=1: train.baseline={train.baseline} with "
            f"train.sentences={train.sentences} compares a sentence with others of the same photo; "
            "give 2 samples or more, or set sentences=drawn and baseline=greedy"
        )
    if drawn and train.baseline == "expected":
        yield (
            "train.baseline=expected: weights sentences by their probabilities, which "
            "train.sentences=drawn has already done by sampling; set train.baseline to samples or "
            "greedy"
        )


def hard_attention_rules(train: TrainSection, attention: AttentionSection) -> Iterator[str]:
    """Hard attention and scheduled sampling exclude each other."""
    if attention.kind == "hard" and train.scheduled_sampling > 0:
        yield (
            f"train.scheduled_sampling={train.scheduled_sampling:g}: cannot be combined with "
            "attention.kind=hard, because both sample; set attention.kind=soft, or leave "
            "scheduled_sampling at 0"
        )


def cross_entropy_rules(train: TrainSection, attention: AttentionSection) -> Iterator[str]:
    """Keys that need plain cross-entropy, and keys that need or exclude teachers."""
    other = "attention.kind=hard" if attention.kind == "hard" else ""
    other = other if train.objective == "cross_entropy" else f"train.objective={train.objective}"
    for key, value, given in (
        ("word_dropout", f"{train.word_dropout:g}", train.word_dropout > 0),
        ("consensus", f"{train.consensus:g}", train.consensus > 0),
        ("teachers", ",".join(train.teachers), bool(train.teachers)),
    ):
        if given and other:
            yield (
                f"train.{key}={value}: needs train.objective=cross_entropy with "
                f"attention.kind=soft, but {other}; leave {key} out"
            )
    if train.teachers and train.distillation == 0:
        yield (
            "train.distillation=0: train.teachers would have no effect; give a weight above 0, or "
            "leave the teachers out"
        )
    if train.teachers and train.consensus > 0:
        yield (
            f"train.consensus={train.consensus:g}: cannot be combined with train.teachers, whose "
            "loss has no weights of captions; leave one of them out"
        )
    if train.teacher_sentences > 0 and not train.teachers:
        yield (
            f"train.teacher_sentences={train.teacher_sentences}: needs a teacher that writes the "
            "sentences; give train.teachers=BUNDLE, or leave it at 0"
        )
