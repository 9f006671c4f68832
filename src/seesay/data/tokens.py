"""CaptionTokenizer: text <-> token ids, by the Hugging Face `tokenizers` library."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from seesay.errors import DataError, printable, shown

PAD, BOS, EOS, UNK = 0, 1, 2, 3
RESERVED = ("<pad>", "<s>", "</s>", "<unk>")
NEVER_WRITTEN = (PAD, BOS, UNK)

CONTINUES = "##"  # prefix of subwords that continue a word; no word contains it
BPE_SIZE = 4000
LONGEST = 200  # characters of a token

# A word consists of letters and digits with their combining marks, and may have hyphens inside. A
# clitic ('s, 't, ...) is a token of its own, as in the PTB tokeniser of the official scores.
# Everything else is dropped, including single marks such as the variation selector of an emoji.
_WORD = r"'(?:s|t|re|ve|ll|d|m)\b|[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:-[\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*"


@lru_cache(maxsize=1)
def _splitter() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    # before NFKC, which turns ´ into a blank and an accent
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("[‘’`´]"), "'"), normalizers.NFKC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    return tokenizer


def split_words(text: str) -> list[str]:
    """The normalised words of a sentence, as used for vocabularies, references and hypotheses."""
    splitter = _splitter()
    assert splitter.normalizer is not None and splitter.pre_tokenizer is not None
    return [word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(text))]


def join_words(words: Iterable[str]) -> str:
    """Words as a displayed sentence; clitics are attached to the word before them."""
    return " ".join(words).replace(" '", "'")


class WordSpan(NamedTuple):
    """A displayed word and the positions [start, stop) of its tokens."""

    text: str
    start: int
    stop: int


class CaptionTokenizer:
    """A vocabulary of words or subwords.

    Ids 0 to 3 are reserved for padding, start, end and unknown. The unknown token occurs in
    training captions, but a model never writes it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        found = tuple(tokenizer.id_to_token(i) for i in range(len(RESERVED)))
        if found != RESERVED:
            raise DataError(f"tokenizer: the first ids are {found}, expected {RESERVED}")

    @classmethod
    def build(
        cls, captions: Iterable[str], min_count: int = 5, kind: str = "word", vocab_size: int | None = None
    ) -> CaptionTokenizer:
        """Build a vocabulary from captions.

        Args:
            captions: captions of the training split only; their order does not matter.
            min_count: how often a word must occur (kind "word").
            kind: "word", the most frequent first; or "bpe": byte-pair encoding
                (https://arxiv.org/abs/1508.07909) within words: all characters of the captions,
                then subwords in the order of their merges.
            vocab_size: the maximal number of tokens, reserved ones included; None: no limit for
                words, `BPE_SIZE` for subwords.

        Raises:
            DataError: no word is that frequent, or the characters alone are more than `vocab_size`.
        """
        counts = Counter(word for caption in captions for word in split_words(caption))
        if kind == "bpe":
            tokenizer = _pieces(counts, vocab_size or BPE_SIZE)
        else:
            tokenizer = _whole_words(counts, min_count, vocab_size)
        splitter = _splitter()
        tokenizer.normalizer, tokenizer.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str) -> CaptionTokenizer:
        """The inverse of `to_json`.

        Raises:
            DataError: `to_json` did not write the text.
        """
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Any) -> CaptionTokenizer:
        """A tokenizer from parsed JSON, of which only the vocabulary and the merges are used.

        The file is not trusted, and parts of the format can make the `tokenizers` library abort the
        process. So its normaliser, splitter and options must be those of `build`, and are built
        anew.

        Raises:
            DataError: the part that differs from what `to_json` writes.
        """
        tokenizer = Tokenizer(_checked_model(values))
        splitter = _splitter()
        tokenizer.normalizer, tokenizer.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
        return cls(tokenizer)

    def to_json(self) -> str:
        """The tokenizer in the format of the `tokenizers` library."""
        return self._tokenizer.to_str(pretty=True)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of a sentence, without start and end.

        Unknown words, or with subwords unknown characters, become UNK.
        """
        return self._tokenizer.encode(text).ids

    def word_numbers(self, text: str) -> list[int]:
        """For each id of `encode(text)` the index of its word in `split_words(text)`."""
        return [number for number in self._tokenizer.encode(text).word_ids if number is not None]

    def token(self, token_id: int) -> str:
        """The token with this id."""
        token = self._tokenizer.id_to_token(token_id)
        assert token is not None, f"id {token_id} of {len(self)} tokens"
        return token

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        """The displayed words of a sentence, given its ids without the end token.

        Subwords that continue a word, and clitics, are attached to the preceding word.
        """
        spans: list[WordSpan] = []
        for position, token in enumerate(map(self.token, ids)):
            text = token.removeprefix(CONTINUES)
            if spans and token.startswith((CONTINUES, "'")):
                spans[-1] = WordSpan(spans[-1].text + text, spans[-1].start, position + 1)
            else:
                spans.append(WordSpan(text, position, position + 1))
        return spans

    def decode(self, ids: Sequence[int]) -> str:
        """The displayed sentence."""
        return join_words(span.text for span in self.words(ids))

    def split(self, ids: Sequence[int]) -> list[str]:
        """The words of the displayed sentence: `split_words(decode(ids))`, but faster.

        The ids must be ones that a model may write.
        """
        if self._whole is None:
            return split_words(self.decode(ids))
        return [self._whole[i] for i in ids]

    @cached_property
    def _whole(self) -> list[str] | None:
        """The word of each id; None if sentences must be split by `split_words`.

        If `split_words` leaves the whole vocabulary, joined by spaces, unchanged, it does so with
        every sentence made of these words. This fails for subwords, and for words that it would
        split.
        """
        tokens = [self.token(i) for i in range(len(self))]
        words = tokens[len(RESERVED) :]
        return tokens if split_words(" ".join(words)) == words else None


def _whole_words(counts: Counter[str], min_count: int, vocab_size: int | None) -> Tokenizer:
    kept = sorted((word for word, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
    if not kept:
        raise DataError(f"tokens.min_count={min_count}: none of {len(counts)} words occurs that often")
    vocabulary = [*RESERVED, *kept][:vocab_size]
    return Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))


def _pieces(counts: Counter[str], vocab_size: int) -> Tokenizer:
    """Train byte-pair encoding in which subwords that continue a word have a prefix."""
    if not counts:
        raise DataError("tokens.kind=bpe: the training captions have no words")
    starts = sorted({word[0] for word in counts})
    follow = sorted({CONTINUES + letter for word in counts for letter in word[1:]})
    # Without this the trainer would number the characters in an order that differs between
    # processes.
    alphabet = [*RESERVED, *starts, *follow]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=alphabet, continuing_subword_prefix=CONTINUES, show_progress=False
    )
    trained = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix=CONTINUES))
    trained.train_from_iterator(counts.elements(), trainer)
    model = json.loads(trained.to_str())["model"]
    if len(model["vocab"]) > vocab_size:
        raise DataError(
            f"tokens.vocab_size={vocab_size}: the characters of the training captions and the reserved tokens alone "
            f"are {len(model['vocab'])}; give more"
        )
    # Only the model is kept, because special tokens such as "<s>" would also match in captions.
    merges = [tuple(merge) for merge in model["merges"]]
    return Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", continuing_subword_prefix=CONTINUES))


def _checked_model(values: Any) -> models.Model:
    """The model in a tokenizer's JSON; everything else must be as we write it."""
    if not isinstance(values, dict):
        raise DataError(f"expected keys and values, got {shown(values)}")
    for key, ours in json.loads(_splitter().to_str()).items():
        if key not in ("version", "model") and not _alike(values.get(key), ours):
            raise DataError(f"{key}={shown(values.get(key))}: expected {shown(ours)}")
    model = values.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind not in ("WordLevel", "BPE"):
        raise DataError(f"model.type={shown(kind)}: expected WordLevel | BPE")
    vocabulary = _checked_vocabulary(model.get("vocab"))
    if kind == "WordLevel":
        return models.WordLevel(vocabulary, unk_token="<unk>")
    merges = _checked_merges(model.get("merges"), vocabulary)
    return models.BPE(vocabulary, merges, unk_token="<unk>", continuing_subword_prefix=CONTINUES)


def _alike(theirs: Any, ours: Any) -> bool:
    """Whether two JSON values agree in their common keys.

    Versions of `tokenizers` differ in the keys that they write.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return all(_alike(theirs.get(key, value), value) for key, value in ours.items())
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_alike, theirs, ours))
    return theirs == ours


def _checked_vocabulary(vocabulary: Any) -> dict[str, int]:
    if not isinstance(vocabulary, dict) or len(vocabulary) <= len(RESERVED):
        raise DataError(f"model.vocab={shown(vocabulary)}: expected {len(RESERVED)} reserved tokens, and words")
    ids = list(vocabulary.values())
    if any(type(i) is not int for i in ids) or sorted(ids) != list(range(len(ids))):
        raise DataError(f"model.vocab: expected each id from 0 to {len(ids) - 1:,} once")
    control = printable(text := "".join(vocabulary)) != text
    for token in vocabulary:
        if not 0 < len(token) <= LONGEST or (control and printable(token) != token):
            raise DataError(
                f"model.vocab: {shown(token)} is no token: expected 1 to {LONGEST} characters, none for control"
            )
    return vocabulary


def _checked_merges(merges: Any, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    if not isinstance(merges, list):
        raise DataError(f"model.merges={shown(merges)}: expected a list of pairs")
    pairs: list[tuple[str, str]] = []
    for merge in merges:
        # as earlier versions of `tokenizers` write it
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise DataError(f"model.merges: {shown(merge)}: expected a pair of tokens")
        first, second = pair
        merged = first + second.removeprefix(CONTINUES)
        if not second.startswith(CONTINUES) or not {first, second, merged} <= vocabulary.keys():
            raise DataError(f"model.merges: {shown(merge)}: expected two tokens that make a third")
        pairs.append((first, second))
    return pairs
