"""A caller's rules for sentences, in words -> the rules of a search, in tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar

from seesay.data.tokens import CONTINUES, RESERVED, UNK, CaptionTokenizer, split_words
from seesay.errors import TextError, did_you_mean
from seesay.search import Constraint, Forbidden, Rules
from seesay.search.step import FORBIDDEN, Array

Options = TypeVar("Options", bound=Rules)


class WordRules(TypedDict, total=False):
    """A caller's rules for sentences, besides the model's own.

    Keys:
        prefix: text that the sentence begins with, such as "a woman".
        max_words: maximal number of tokens: words, or pieces of words for models that write those.
        forbid: words that must not be written: a list, or a text.
        constraints: constraints on tokens, see `seesay.search.constraints`.
    """

    prefix: str | None
    max_words: int | None
    forbid: str | Iterable[str]
    constraints: Sequence[Constraint]


def with_rules(
    options: Options,
    tokenizer: CaptionTokenizer,
    prefix: str | None = None,
    max_words: int | None = None,
    forbid: str | Iterable[str] = (),
    constraints: Sequence[Constraint] = (),
) -> Options:
    """Add a caller's rules to the options of a search; see `WordRules`.

    Raises:
        TextError: the prefix has words that the model cannot write, or that are forbidden, or it is too long.
        ValueError: `max_words` is out of range.
    """
    words = {word for text in ([forbid] if isinstance(forbid, str) else forbid) for word in split_words(text)}
    changes: dict[str, Any] = {} if max_words is None else {"max_words": max_words}
    if words or constraints:
        forbidden = [forbidden_words(tokenizer, words)] if words else []
        changes["constraints"] = (*options.constraints, *constraints, *forbidden)
    if prefix is not None:
        changes["prefix"] = tokens_of(tokenizer, prefix, "prefix")
        longest = max_words or options.max_words
        if len(changes["prefix"]) > longest:
            raise TextError(f"prefix of {len(changes['prefix'])} words: max_words={longest} leaves no room for it")
        if both := words & set(split_words(prefix)):
            raise TextError(f"prefix: {_listed(sorted(both))} is among the forbidden words")
    return replace(options, **changes) if changes else options


def tokens_of(tokenizer: CaptionTokenizer, text: str, what: str, strict: bool = True) -> tuple[int, ...]:
    """Tokenise a text.

    Args:
        tokenizer: the model's.
        text: one word or more; capitals and punctuation do not matter.
        what: the argument's name, for messages.
        strict: whether unknown words are an error; if not, they become unknown tokens.

    Raises:
        TextError: it has no words, or (strict) words that are not in the vocabulary; the message names all of them.
    """
    words = split_words(text)
    if not words:
        raise TextError(f"{what}: no words in {text!r}")
    ids = tokenizer.encode(text)
    if strict and UNK in ids:
        unknown = dict.fromkeys(word for word in words if UNK in tokenizer.encode(word))
        known = [tokenizer.token(i) for i in range(len(RESERVED), len(tokenizer))]
        near = did_you_mean(next(iter(unknown)), known) if len(unknown) == 1 else ""
        raise TextError(f"{what}: the model does not know {_listed(unknown)}.{near}")
    return tuple(ids)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def forbidden_words(tokenizer: CaptionTokenizer, words: Iterable[str]) -> Constraint:
    """A constraint against these words. Words outside the vocabulary need none."""
    tokens = [tokenizer.token(i) for i in range(len(tokenizer))]
    last: dict[str, list[int]] = {}  # beginning of a word -> tokens that would complete a forbidden word
    for word in words:
        for i, token in enumerate(tokens[len(RESERVED) :], len(RESERVED)):
            piece = token.removeprefix(CONTINUES)
            start = word.removesuffix(piece)
            if len(start) < len(word) and bool(start) == token.startswith(CONTINUES):
                last.setdefault(start, []).append(i)
    if last.keys() <= {""}:
        return Forbidden(tuple(last.get("", ())))
    return ForbiddenPieces(tuple(tokens), {start: tuple(ids) for start, ids in last.items()})


@dataclass(frozen=True)
class ForbiddenPieces:
    """Forbids words of a vocabulary of word pieces; also longer words that begin with the same pieces.

    Attributes:
        tokens: the vocabulary.
        last: beginning of a word -> tokens that must not follow it; "" for tokens that begin a word.
    """

    tokens: tuple[str, ...]
    last: dict[str, tuple[int, ...]]

    def __call__(self, allowed: Array, written: Array) -> None:
        for photo, sentences in enumerate(written.tolist()):
            for beam, ids in enumerate(sentences):
                for start in {"", self._unfinished(ids)} & self.last.keys():
                    allowed[photo, beam, list(self.last[start])] = FORBIDDEN

    def _unfinished(self, ids: Sequence[int]) -> str:
        """The letters so far of the latest word."""
        letters = ""
        for token in map(self.tokens.__getitem__, reversed(ids)):
            letters = token.removeprefix(CONTINUES) + letters
            if not token.startswith(CONTINUES):
                break
        return letters
