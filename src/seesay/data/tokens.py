"""Text <-> token ids, by the Hugging Face `tokenizers` library; one file holds normaliser, splitter and vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from seesay.errors import DataError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
RESERVED = ("<pad>", "<s>", "</s>", "<unk>")
NEVER_WRITTEN = (PAD, BOS, UNK)

# A word is letters and digits with their marks, and hyphens inside; a clitic ('s, 't, ...) is a token of its own,
# much as the PTB tokeniser of the official scores has it; everything else is dropped. A mark alone is no word: one
# follows each heart that is an emoji.
_WORD = r"'(?:s|t|re|ve|ll|d|m)\b|[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:-[\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*"


@lru_cache(maxsize=1)
def _splitter() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(  # NFKC would make ´ a blank and an accent
        [normalizers.Replace(Regex("[‘’`´]"), "'"), normalizers.NFKC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    return tokenizer


def split_words(text: str) -> list[str]:
    """The normalised words of a sentence: what vocabulary, references and hypotheses are all made of."""
    splitter = _splitter()
    assert splitter.normalizer is not None and splitter.pre_tokenizer is not None
    return [word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(text))]


def join_words(words: Iterable[str]) -> str:
    """A sentence of displayed words; clitics join the word before them."""
    return " ".join(words).replace(" '", "'")


@dataclass(frozen=True)
class WordSpan:
    """A displayed word and the places [start, stop) of the tokens that it was made of."""

    text: str
    start: int
    stop: int


class CaptionTokenizer:
    """Word-level vocabulary with reserved ids 0..3 = pad, start, end, unknown.

    Unknown words may be read (in training captions) and are never written.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        found = tuple(tokenizer.id_to_token(i) for i in range(len(RESERVED)))
        if found != RESERVED:
            raise DataError(f"tokenizer: the first ids are {found}, expected {RESERVED}")

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 5) -> CaptionTokenizer:
        """The vocabulary of the words that occur at least `min_count` times, the most frequent first.

        Args:
            captions: of the training split only.

        Raises:
            DataError: no word is that frequent.
        """
        counts = Counter(word for caption in captions for word in split_words(caption))
        kept = sorted((word for word, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        if not kept:
            raise DataError(f"tokens.min_count={min_count}: none of {len(counts)} words occurs that often")
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate((*RESERVED, *kept))}, unk_token="<unk>"))
        splitter = _splitter()
        tokenizer.normalizer, tokenizer.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str) -> CaptionTokenizer:
        """The inverse of `to_json`."""
        return cls(Tokenizer.from_str(text))

    def to_json(self) -> str:
        """The `tokenizers` library's own format."""
        return self._tokenizer.to_str(pretty=True)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of a sentence, without start and end; unknown words become UNK."""
        return self._tokenizer.encode(text).ids

    def token(self, token_id: int) -> str:
        """The token of an id of this vocabulary."""
        token = self._tokenizer.id_to_token(token_id)
        assert token is not None, f"id {token_id} of {len(self)} tokens"
        return token

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        """The displayed words of a sentence's ids (end token left out); a clitic belongs to the word before it."""
        spans: list[WordSpan] = []
        for place, token in enumerate(map(self.token, ids)):
            if token.startswith("'") and spans:
                spans[-1] = WordSpan(spans[-1].text + token, spans[-1].start, place + 1)
            else:
                spans.append(WordSpan(token, place, place + 1))
        return spans

    def decode(self, ids: Sequence[int]) -> str:
        """The displayed sentence."""
        return join_words(span.text for span in self.words(ids))
