"""Values that are allowed one by one but not together: a function per section yields a line per contradiction."""

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


def parse_part(part: str) -> tuple[int, int] | None:
    """K/N as text -> (K, N), the K-th of N parts, 1 <= K <= N and N >= 2; None for any other text."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    if match is None:
        return None
    number, parts = int(match[1]), int(match[2])
    return (number, parts) if 1 <= number <= parts and parts > 1 else None


def data_rules(data: DataSection) -> Iterator[str]:
    """`data.only` and `data.leave_out`."""
    for key, part in (("data.only", data.only), ("data.leave_out", data.leave_out)):
        if part is not None and parse_part(part) is None:
            yield (f"{key}={part}: expected K/N, the K-th of N equal parts of the training photos, such as 1/3")
    if data.only is not None and data.leave_out is not None:
        yield f"data.only={data.only} with data.leave_out={data.leave_out}: take one of them"


def encoder_rules(encoder: EncoderSection, images: ImagesSection, train: TrainSection) -> Iterator[str]:
    """Cached variants of photos, and losses that only a fine-tuned encoder can learn from."""
    if images.views is not None and not images.augment:
        yield (
            f"images.views={images.views}: that many variants of each photo, of which there are "
            "none without images.augment=true"
        )
    if images.views is not None and encoder.finetune == "all":
        yield (f"images.views={images.views}: nothing can be kept where encoder.finetune=all; leave it out")
    if train.words_seen > 0 and encoder.finetune == "none":
        yield (
            f"train.words_seen={train.words_seen:g} teaches the encoder, and encoder.finetune=none trains nothing of it"
        )


def token_rules(tokens: TokensSection, embedding: EmbeddingSection, search: SearchSection) -> Iterator[str]:
    """Subwords: there are no pretrained vectors for them, and repetition must be allowed."""
    if tokens.kind != "bpe":
        return
    if embedding.kind == "glove":
        yield (
            "embedding.kind=glove has vectors of words, and tokens.kind=bpe has pieces of words; take tokens.kind=word"
        )
    if embedding.kind == "word2vec" and embedding.path is not None:
        yield (
            f"embedding.path={embedding.path}: vectors of words do not fit tokens.kind=bpe; leave "
            "the path out to train word2vec on the pieces, or take tokens.kind=word"
        )
    if search.block_words:
        yield ("search.block_words: pieces of words may well come twice; leave it at false with tokens.kind=bpe")


def embedding_rules(embedding: EmbeddingSection) -> Iterator[str]:
    """Randomly initialised vectors have no file and must be trained."""
    if embedding.kind != "learned":
        return
    if embedding.path is not None:
        yield (
            f"embedding.path={embedding.path}: embedding.kind=learned reads none; give embedding.kind=word2vec or glove"
        )
    if not embedding.train:
        yield (
            "embedding.train=false: vectors that start at random must be trained; give embedding.kind=word2vec or glove"
        )


def attention_rules(attention: AttentionSection, decoder: DecoderSection) -> Iterator[str]:
    """Heads must divide the widths; hard attention needs one head and a recurrent decoder."""
    heads, transformer = attention.heads or 1, decoder.kind == "transformer"
    if decoder.size % heads != 0:
        yield (
            f"attention.heads={heads}: does not divide decoder.size={decoder.size}; each head has an equal share of it"
        )
    if not transformer and attention.size % heads != 0:
        yield (
            f"attention.heads={heads}: does not divide attention.size={attention.size}; each head "
            "has an equal share of it"
        )
    if attention.kind == "hard" and heads > 1:
        yield (
            f"attention.kind=hard looks at one region a word, so attention.heads={heads} cannot be; leave heads at 1"
        )
    if attention.kind == "hard" and transformer:
        yield ("attention.kind=hard needs a recurrent decoder (rnn, lstm, gru): a transformer looks many times a word")
    if transformer and attention.score not in (None, "scaled_dot"):
        yield (f"attention.score={attention.score}: a transformer compares by scaled_dot; leave it out")


def design_rules(decoder: DecoderSection, attention: AttentionSection) -> Iterator[str]:
    """Designs need a recurrent decoder, and some fix its cell, heads or layers."""
    heads = attention.heads or 1
    if decoder.kind == "transformer" and decoder.design is not None:
        yield (f"decoder.design={decoder.design}: a design of recurrent decoders; take decoder.kind rnn, lstm or gru")
    if decoder.design == "adaptive" and decoder.kind != "lstm":
        yield (
            "decoder.design=adaptive reads its sentinel from an LSTM's memory cell; "
            f"decoder.kind={decoder.kind} has none"
        )
    if decoder.design == "adaptive" and heads > 1:
        yield (f"decoder.design=adaptive weighs one look against its sentinel, so attention.heads={heads} cannot be")
    if decoder.design in ("adaptive", "up_down") and decoder.layers > 1:
        yield (f"decoder.layers={decoder.layers}: decoder.design={decoder.design} has its own layers; leave it at 1")


def train_rules(train: TrainSection) -> Iterator[str]:
    """Devices, warm-up and the number of epochs."""
    if not re.fullmatch(DEVICES, str(train.devices)):
        yield (f"train.devices={train.devices}: expected auto, a number from 1, -1 for all, or which ones, such as 0,1")
    if train.warmup >= 1:
        yield ("train.warmup=1: the whole run would be warm-up; give a share of the steps below 1")
    if train.epochs == 0 and not train.init:
        yield ("train.epochs=0: writes what the run starts from, which would be random numbers; give train.init=BUNDLE")


def self_critical_rules(train: TrainSection, attention: AttentionSection) -> Iterator[str]:
    """Requirements of self-critical training, and keys that have no effect without it."""
    if train.objective != "self_critical":
        if train.bleu_weight > 0:
            yield (
                f"train.bleu_weight={train.bleu_weight:g}: a part of the reward of train.objective=self_critical only"
            )
        if train.cross_entropy_weight > 0:
            yield (
                f"train.cross_entropy_weight={train.cross_entropy_weight:g}: is mixed into "
                "train.objective=self_critical only"
            )
        return
    if not train.init:
        yield "train.objective=self_critical starts from a trained model: give train.init=BUNDLE"
    compared_with_greedy = train.baseline == "greedy" and train.sentences == "drawn"
    if train.samples == 1 and not compared_with_greedy:
        yield (
            "train.samples=1: with train.sentences=drawn and train.baseline=greedy alone one "
            "sentence has another to be compared with; give these, or 2 or more"
        )
    if train.sentences == "drawn" and train.baseline == "expected":
        yield (
            "train.baseline=expected: weighs sentences by their probabilities, by which those of "
            "train.sentences=drawn were drawn already; give train.baseline=samples or greedy"
        )
    if train.doubly_stochastic > 0 and train.cross_entropy_weight == 0:
        yield (
            f"train.doubly_stochastic={train.doubly_stochastic:g}: a part of the cross-entropy, of "
            "which self_critical mixes none in; leave it at 0 or give train.cross_entropy_weight"
        )
    if train.scheduled_sampling > 0:
        yield ("train.scheduled_sampling: self_critical training reads its own words anyway; leave it at 0")
    if attention.kind == "hard":
        yield (
            "train.objective=self_critical with attention.kind=hard: two samplings at once are not supported; take soft"
        )


def hard_attention_rules(train: TrainSection, attention: AttentionSection) -> Iterator[str]:
    """Hard attention and scheduled sampling exclude each other."""
    if attention.kind == "hard" and train.scheduled_sampling > 0:
        yield ("train.scheduled_sampling with attention.kind=hard: two samplings at once are not supported; take soft")


def cross_entropy_rules(train: TrainSection, attention: AttentionSection) -> Iterator[str]:
    """Options for plain cross-entropy alone, and the options that teachers need or exclude."""
    plain = train.objective == "cross_entropy" and attention.kind == "soft"
    for key, given in (
        ("train.word_dropout", train.word_dropout > 0),
        ("train.consensus", train.consensus > 0),
        ("train.teachers", bool(train.teachers)),
    ):
        if given and not plain:
            yield (
                f"{key}: goes with plain cross-entropy only, not with "
                "train.objective=self_critical or attention.kind=hard"
            )
    if train.teachers and train.distillation == 0:
        yield ("train.teachers are asked for nothing with train.distillation=0; leave them out or give it a weight")
    if train.teachers and train.consensus > 0:
        yield ("train.consensus with train.teachers: the teachers' words have no weights; take one of them")
    if train.teacher_sentences > 0 and not train.teachers:
        yield (f"train.teacher_sentences={train.teacher_sentences}: of which teacher? Give train.teachers=BUNDLE")
