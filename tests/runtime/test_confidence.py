"""Confidence of captions and words: the arithmetic, the bundle's part, and the options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SENTENCES, Cli, lines_of

import seesay
from seesay.bundle.confidence_file import TENSORS, VALUES, ConfidenceHead, read_head, write_head
from seesay.bundle.format import open_bundle, write_manifest
from seesay.calibration.calibrate import with_confidence
from seesay.caption import Caption
from seesay.data.things import plainer, supports, thing_of
from seesay.data.tokens import WordSpan, join_words
from seesay.errors import BundleError
from seesay.runtime.cautious import CAUTIOUS, plainer_forms, shorter_forms
from seesay.runtime.confidence import USUAL, Judge, Preference, Said, pooled
from seesay.search import SampleOptions


def small_head(features: int = 3, **changes) -> ConfidenceHead:
    """Two words and a pair of them, whose shares are features of the photo."""
    accept, word = np.zeros(4), np.zeros(5)
    accept[1] = 1.0  # the tf-idf product of the words alone
    word[2] = 1.0  # the log-share of the word alone
    weights = np.zeros((features, 2))
    weights[0, 0], weights[1, 1] = 1.0, 1.0
    shares = np.zeros((3, 2))
    shares[0, 0] = shares[2, 1] = 1.0
    head = ConfidenceHead(
        grams=("dog", "dog runs", "grass"),
        idf=np.array([2.0, 3.0, 1.0]),
        mean=np.zeros(features),
        scale=np.ones(features),
        project=weights,
        shares=shares,
        base=np.array([0.0, 0.5, 0.0]),
        accept=accept,
        word=word,
    )
    return replace(head, **changes)


def said_of(text: str, logprobs: list[float]) -> Said:
    """A sentence whose words are tokens."""
    words = text.split()
    return Said(words, logprobs, [*zip(words, logprobs, strict=False)])


def test_confidence_by_hand() -> None:
    judge = Judge(small_head())
    evidence = judge.evidence(np.array([0.6, 0.2, 9.0]))
    said = said_of("a dog runs on grass", [-0.1, -1.0, -2.0, -0.2, -0.5, -0.2])
    [signals, unknown] = judge.sentence_signals(evidence, [said, said_of("cats", [-1.0, -1.0])])
    assert evidence.shares == pytest.approx({0: 0.6, 1: 0.5, 2: 0.2})
    of_words = (0.6 * 4 + 0.2 * 1) / np.sqrt(4 + 1)
    of_pairs = 0.5 * 9 / np.sqrt(9 + 3 * 49)  # one of four pairs is known
    assert signals == pytest.approx([-4.0 / 6, of_words, of_pairs])
    doubt = (1 - 0.62 / 1.62) ** 2 + (1 - 0.22 / 1.22) ** 2  # of the dog and of the grass
    assert judge.doubt(evidence, said) == pytest.approx(doubt)
    assert judge.confidence(evidence, said) == pytest.approx(1 / (1 + np.exp(-of_words)))
    assert unknown == pytest.approx([-1.0, 0.0, 0.0])


def test_the_choice_among_sentences_by_hand() -> None:
    judge = Judge(small_head())
    evidence = judge.evidence(np.array([0.9, 0.1, 0.0]))
    texts = ["grass", "dogs play with a dog", "dog plays"]
    said = [said_of(text, [-1.0] * (len(text.split()) + 1)) for text in texts]
    odds = judge.logits(evidence, said)
    assert odds[1] == max(odds)
    assert [texts[i] for i in judge.ranked(evidence, said)] == ["dog plays", "grass", "dogs play with a dog"]
    assert judge.ranked(evidence, [said[1], said[0]]) == [0, 1]  # the first names a thing twice
    assert judge.ranked(evidence, [said[0], said_of("", [-0.1]), said[2]])[-1] == 1  # no caption without words
    words = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    judge = Judge(small_head(base=np.array([0.0, 0.5, 0.6]), accept=np.zeros(4), word=words))
    evidence = judge.evidence(np.array([0.1, 0.0, 0.0]))
    assert judge.ranked(evidence, [said[2], said[0]]) == [1, 0], "as likely accepted, but the dog is in doubt"
    judge = Judge(small_head(accept=np.zeros(4)))
    evidence = judge.evidence(np.array([0.5, 0.5, 0.0]))
    several = [said_of(text, [-1.0] * 4) for text in ("a dog", "a dog runs")]  # the dog is in doubt, the pair is likely
    assert judge.ranked(evidence, several, Preference(doubt=1.0, pairs=0.0)) == [0, 1]
    assert judge.ranked(evidence, several, Preference(doubt=1.0, pairs=0.1)) == [1, 0]


def test_word_confidence_by_hand() -> None:
    judge = Judge(small_head())
    evidence = judge.evidence(np.array([0.6, -0.2, 9.0]))
    assert judge.word_confidence(evidence, "runs", -1.0) is None  # no thing
    odds = 0.6 + 0.02
    assert judge.word_confidence(evidence, "dog", -1.0) == pytest.approx(odds / (1 + odds))
    odds = 0.02  # a share below 0 counts as none
    assert judge.word_confidence(evidence, "grass", -1.0) == pytest.approx(odds / (1 + odds))
    signals = judge.word_signals(evidence, "animal", -1.0)
    assert signals is not None
    assert np.exp(signals[3]) == pytest.approx(0.62)  # a dog is an animal


def test_a_picture_that_is_no_photo_has_little_confidence() -> None:
    kinds = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    head = small_head(
        kinds=("photo", "text"), kind_weights=kinds, kind_base=np.array([1.0, 0.0]), photo=(4.0, 0.0), threshold=0.0
    )
    judge = Judge(head)
    photo, text = (judge.evidence(np.array([x, 0.0, 0.0])) for x in (0.5, 2.0))
    assert (photo.kind, text.kind) == ("photo", "text")
    assert text.photo == pytest.approx(1 / (1 + np.exp(4)))
    assert text.photo is not None
    assert judge.confidence(text, said_of("dog", [-1.0, -1.0])) < text.photo
    features = np.array([1e9, 0.0, 0.0])  # however far a picture is from all photos, the numbers stay finite
    assert np.isfinite(judge.evidence(features).codes).all()


def test_pooled_features_do_not_depend_on_heads() -> None:
    regions = np.random.default_rng(0).normal(size=(1, 7, 8)).astype(np.float32)
    features = pooled([regions])
    np.testing.assert_allclose(features[:8], regions[0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(features[8:16], regions[0].std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(features[16:], regions[0].max(axis=0))
    heads = regions.reshape(1, 7, 2, 4).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(pooled([heads]), features, rtol=1e-6)
    finer = np.zeros((1, 28, 3), np.float32)
    both = pooled([heads, finer, regions[:, :, :2]]).reshape(3, 10)
    np.testing.assert_allclose(both[:, :8].ravel(), features, rtol=1e-6)
    np.testing.assert_allclose(pooled([heads, regions[:, :3]]), features, rtol=1e-6)
    np.testing.assert_allclose(both[:, 8:].ravel(), pooled([regions[:, :, :2]]), rtol=1e-5)


def test_things() -> None:
    assert thing_of("guys") == thing_of("man") == "man"
    assert thing_of("running") is None
    assert plainer("puppy") == ("dog", "animal")
    found = supports(["two", "boys", "and", "puppies"])
    assert {"boy", "child", "person", "puppy", "dog", "animal"} <= found
    assert "girl" not in found
    assert "man" not in supports(["a", "person"])  # a plain word does not make a special one right


@pytest.fixture
def sure_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with a head that knows two kinds."""
    folder = shutil.copytree(tiny_bundle, tmp_path / "sure")
    bundle = open_bundle(folder)
    size = len(pooled(seesay.load(folder).encode(np.zeros((50, 50, 3), np.uint8)).input.arrays.memory))
    random = np.random.default_rng(0)
    head = small_head(
        size,
        project=random.normal(0, 0.05, (size, 2)),
        kinds=("photo", "blank"),
        kind_weights=random.normal(0, 0.01, (size, 2)),
        kind_base=np.array([1.0, 0.0]),
        photo=(4.0, 0.0),
        threshold=-50.0,
        about={"photos": [8, 4]},
    )
    with_confidence(bundle, head)
    return folder


def test_a_bundle_keeps_its_head(sure_bundle: Path) -> None:
    head = read_head(sure_bundle)
    assert head is not None
    write_head(sure_bundle, head)
    again = read_head(sure_bundle)
    assert again is not None
    assert again.about["photos"] == [8, 4]
    np.testing.assert_allclose(again.project, head.project, atol=1e-6)
    assert again.kinds == ("photo", "blank")
    turned = {name: np.asfortranarray(getattr(head, name)) for name in ("project", "shares", "kind_weights")}
    write_head(sure_bundle, replace(head, **turned))  # however the matrices lie in memory
    again = read_head(sure_bundle)
    assert again is not None
    np.testing.assert_allclose(again.project, head.project, atol=1e-6)
    np.testing.assert_allclose(again.shares, head.shares, atol=1e-6)
    np.testing.assert_allclose(again.kind_weights, head.kind_weights, atol=1e-6)


def test_the_likeliest_captions_are_the_same_with_and_without_a_head(
    sure_bundle: Path, tiny_bundle: Path, tiny_photos: list[Path]
) -> None:
    sure, plain = seesay.load(sure_bundle), seesay.load(tiny_bundle)
    for photo in tiny_photos:
        one, other = sure.caption(photo, likeliest=True), plain.caption(photo)
        assert (one.text, one.score) == (other.text, other.score)
        assert plain.caption(photo, likeliest=True).text == other.text
        first, *_ = sure.alternatives(photo, 2, likeliest=True)
        assert first.text == other.text
        assert other.confidence is None
        assert other.kind is None
        assert "confidence" not in other.to_dict()
        assert one.confidence is not None
        assert 0 <= one.confidence <= 1
        assert one.kind == "photo"


def test_the_caption_is_the_sentence_that_is_trusted_most(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    model = seesay.load(sure_bundle)
    bundle, judge = model.bundle, model.require_confidence()
    other = 0
    for path, together in zip(tiny_photos, model.caption_many(tiny_photos, beam=6), strict=True):
        photo = model.encode(path)
        evidence = photo.input.evidence(judge)
        [found] = model.engine.search([photo.input.arrays], replace(bundle.search, beam=6))
        said = [Said.of(bundle.tokenizer, h) for h in found]
        order, odds = judge.ranked(evidence, said), judge.logits(evidence, said)
        odds_of = {join_words(said[i].words): odds[i] for i in order}
        best = next(iter(odds_of))
        other += best != bundle.tokenizer.decode(found[0].tokens)
        caption = model.caption(photo, beam=6)
        assert caption.text == str(together) == best
        assert caption.confidence == pytest.approx(1 / (1 + np.exp(-odds_of[best])))
        alternatives = model.alternatives(photo, 6)
        assert [a.text for a in alternatives[: len(odds_of)]] == list(odds_of)[:6]
    assert other, "it is not always the likeliest"


def test_alternatives_go_on_with_what_the_search_gave_up(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    """In batches as for single photos; what had ended comes first."""
    model = seesay.load(sure_bundle)
    tokenizer, options = model.bundle.tokenizer, replace(model.bundle.search, beam=7)
    more = 0
    for path, together in zip(tiny_photos, model.caption_many(tiny_photos, alternatives=7), strict=True):
        photo = model.encode(path)
        found = model.alternatives(photo, 7)
        assert isinstance(together, list) and list(map(str, together)) == list(map(str, found))
        assert len({str(caption) for caption in found}) == len(found) == 7
        [ended] = model.engine.search([photo.input.arrays], options)
        first = {tokenizer.decode(sentence.tokens) for sentence in ended}
        head = {str(caption) for caption in found[: len(first)]}
        assert head <= first and len(head) == min(len(first), 7)
        [others] = model.engine.search([photo.input.arrays], options, keep_ended=True)
        judge = model.require_confidence()
        order = judge.ranked(photo.input.evidence(judge), [Said.of(tokenizer, sentence) for sentence in others])
        rest = [text for i in order if (text := tokenizer.decode(others[i].tokens)) not in first]
        assert [str(caption) for caption in found[len(first) :]] == rest[: 7 - len(head)]
        more += len(first) < 7
    assert more, "some searches end before all of their sentences have"


def test_confidence_does_not_depend_on_what_was_asked_before(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    """An encoded photo keeps what was looked up for it, and takes the evidence of a new calibration."""
    model = seesay.load(sure_bundle)
    photo = model.encode(tiny_photos[0])
    model.caption(photo, cautious=True)
    model.score(photo, SENTENCES[0])
    assert model.caption(photo).confidence == model.caption(tiny_photos[0]).confidence
    head = read_head(sure_bundle)
    assert head is not None
    with_confidence(open_bundle(sure_bundle), replace(head, base=head.base + 0.3))
    again = seesay.load(sure_bundle)
    assert again.caption(photo).confidence == again.caption(tiny_photos[0]).confidence
    assert again.caption(photo).confidence != model.caption(photo).confidence


def test_options_that_exclude_each_other(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    model = seesay.load(sure_bundle)
    with pytest.raises(ValueError, match="cautious and likeliest"):
        model.caption(tiny_photos[0], cautious=True, likeliest=True)
    with pytest.raises(ValueError, match="cautious and likeliest"):
        model.caption_many(tiny_photos, cautious=True, likeliest=True)
    with pytest.raises(ValueError, match="likeliest: samples"):
        model.caption_many(tiny_photos, sample=SampleOptions(2), likeliest=True)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_many_photos_have_the_confidence_of_single_ones(sure_bundle: Path, tiny_photos: list[Path], precision) -> None:
    model = seesay.load(sure_bundle, precision=precision)
    single = [model.caption(photo) for photo in tiny_photos]
    for batch in (3, 7):
        for one, other in zip(single, model.caption_many(tiny_photos, batch_size=batch), strict=True):
            assert isinstance(other, Caption)
            assert one.confidence is not None
            assert other.confidence == pytest.approx(one.confidence, abs=1e-4)
            assert [word.confidence is None for word in one.words] == [w.confidence is None for w in other.words]
    first, *_ = model.alternatives(tiny_photos[0], 3)
    assert first.confidence == pytest.approx(single[0].confidence, abs=1e-4)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 4}, "version 4"),
        ({"grams": ["dog", "dog", "grass"]}, "different ones"),
        ({"grams": ["dog"]}, "idf is float32 [3], expected float32 1"),
        ({"kinds": ["text", "photo"]}, "kinds=['text', 'photo']"),
        ({"threshold": "high"}, "threshold"),
    ],
)
def test_a_damaged_part_is_refused(sure_bundle: Path, damage: dict, message: str) -> None:
    path = sure_bundle / VALUES
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | damage), "utf-8")
    with pytest.raises(BundleError) as error:
        read_head(sure_bundle)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_part_of_an_earlier_seesay_is_ignored(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    path = sure_bundle / VALUES
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"version": 2}), "utf-8")
    assert read_head(sure_bundle) is None
    write_manifest(sure_bundle, (3, 3))
    model = seesay.load(sure_bundle)
    assert model.judge is None and model.caption(tiny_photos[0]).confidence is None


def test_changed_missing_and_infinite_parts_are_refused(sure_bundle: Path) -> None:
    head = read_head(sure_bundle)
    assert head is not None
    with pytest.raises(BundleError, match=r"confidence\.safetensors.*NaN"):
        write_head(sure_bundle, replace(head, base=np.array([np.nan, 0, 0])))
        read_head(sure_bundle)
    with pytest.raises(BundleError, match=r"confidence\.(json|safetensors) was changed"):
        seesay.load(sure_bundle)  # its checksum is not the manifest's
    (sure_bundle / TENSORS).unlink()
    with pytest.raises(BundleError, match="is missing"):
        read_head(sure_bundle)


def test_a_head_for_another_encoder_is_refused(sure_bundle: Path) -> None:
    with_confidence(open_bundle(sure_bundle), small_head(7))
    with pytest.raises(BundleError, match=r"confidence\.safetensors.* 7 features.*expected"):
        seesay.load(sure_bundle)


def test_min_confidence_withholds_but_keeps_the_sentence(sure_bundle: Path, tiny_photos: list[Path], cli: Cli) -> None:
    done = cli("caption", tiny_photos[0], "--model", sure_bundle, "--min-confidence", "0.99", "--json", "out.jsonl")
    assert done.code == 0
    assert done.out == f"{tiny_photos[0]}: not sure\n"
    [line] = lines_of(Path("out.jsonl"))
    assert line["withheld"] is True
    assert line["caption"]
    assert line["kind"] == "photo"
    assert 0 <= line["confidence"] < 0.99
    done = cli("caption", tiny_photos[0], "--model", sure_bundle, "--min-confidence", "0", "--csv", "-")
    assert line["caption"] in done.out


def test_a_picture_that_is_no_photo_is_withheld(sure_bundle: Path, tiny_photos: list[Path], cli: Cli) -> None:
    head = read_head(sure_bundle)
    assert head is not None
    with_confidence(open_bundle(sure_bundle), replace(head, threshold=50.0))
    done = cli("caption", tiny_photos[0], "--model", sure_bundle, "--json", "out.jsonl", "--csv", "out.csv")
    assert done.out == f"{tiny_photos[0]}: not a photo (blank)\n"
    [line] = lines_of(Path("out.jsonl"))
    assert (line["kind"], line["withheld"]) == ("blank", True)
    assert Path("out.csv").read_text("utf-8").splitlines()[1].split(",")[1] == ""


def test_options_that_a_bundle_without_a_head_cannot_keep(tiny_bundle: Path, tiny_photos, cli: Cli) -> None:
    Path("before.csv").write_text("before")
    for option in (["--min-confidence", "0.5"], ["--cautious"], ["--prefix", "zebrax"]):
        done = cli("caption", tiny_photos[0], "--model", tiny_bundle, *option, "--csv", "before.csv")
        assert done.code == 1
        assert ("knows no confidence; `seesay calibrate" in done.err) == (option[0] != "--prefix")
        assert Path("before.csv").read_text() == "before"
    assert cli("caption", tiny_photos[0], "--min-confidence", "1.5").code == 2
    done = cli("caption", tiny_photos[0], "--cautious", "--alternatives", "2")
    assert done.code == 2
    with pytest.raises(ValueError, match="seesay calibrate"):
        seesay.load(tiny_bundle).caption(tiny_photos[0]).withhold(0.5)


class Words:
    """A tokenizer whose tokens are the places of words in a text."""

    def __init__(self, text: str) -> None:
        self.text = text.split()

    def words(self, tokens: Iterable[int]) -> list[WordSpan]:
        return [WordSpan(self.text[i], i, i + 1) for i in tokens]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a man with a hat is standing in front of a wall next to a dog on the grass",
            [
                "a man with a hat is standing",
                "a man with a hat is standing in front of a wall",
                "a man with a hat is standing in front of a wall next to a dog",
            ],
        ),
        ("a brown dog is on a couch", []),  # too short
        ("a very big dog is in the snow", []),  # no verb
        ("two dogs", []),
    ],
)
def test_shorter_forms_end_where_a_sentence_may_end(text: str, expected: list[str]) -> None:
    words = Words(text)
    tokens = tuple(range(len(words.text)))
    forms = shorter_forms(words, tokens)  # pyright: ignore[reportArgumentType]
    assert [" ".join(words.text[: len(form)]) for form in forms] == expected


def test_the_cautious_choice(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    """Of a wide search's sentences, and others made of the best, by a preference of its own."""
    model, other = seesay.load(sure_bundle), 0
    judge, tokenizer, options = model.require_confidence(), model.bundle.tokenizer, model.bundle.search
    for path in tiny_photos:
        photo = model.encode(path).input
        evidence, [found] = photo.evidence(judge), model.engine.search([photo.arrays], replace(options, beam=24))
        said = [Said.of(tokenizer, sentence) for sentence in found]
        best = [found[i] for i in judge.ranked(evidence, said)]
        forms = plainer_forms(tokenizer, judge, evidence, best) + shorter_forms(tokenizer, best[0].tokens)
        every = [*found, *(model.engine.score([photo.arrays], form)[0] for form in forms)]
        said = [Said.of(tokenizer, sentence) for sentence in every]
        cautious, usual = (judge.ranked(evidence, said, preference)[0] for preference in (CAUTIOUS, USUAL))
        assert str(model.caption(path, cautious=True)) == tokenizer.decode(every[cautious].tokens)
        other += cautious != usual
    assert other, "it is not always the usual choice"


def test_cautious_captions_are_sentences_of_the_model(sure_bundle: Path, tiny_photos: list[Path]) -> None:
    model = seesay.load(sure_bundle)
    single = [model.caption(photo, cautious=True) for photo in tiny_photos]
    many = list(model.caption_many(tiny_photos, cautious=True))
    assert [str(caption) for caption in single] == [str(caption) for caption in many]
    for photo, caption in zip(tiny_photos, single, strict=True):
        assert model.score(photo, caption.text).score == pytest.approx(caption.score, abs=1e-3)
        assert len(caption.words) == len(caption.text.split())
    with pytest.raises(ValueError, match="cautious"):
        model.caption_many(tiny_photos, alternatives=2, cautious=True)  # pyright: ignore[reportCallIssue]
