"""Encode once, ask many: alternatives, samples, scores of given sentences, and rules that a caller adds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SENTENCES
from PIL import Image

from seesay.caption import Caption, Failure
from seesay.data.tokens import CaptionTokenizer, split_words
from seesay.errors import TextError
from seesay.runtime import CaptionModel, EncodedPhoto
from seesay.runtime.word_rules import ForbiddenPieces, forbidden_words, with_rules
from seesay.search import BeamOptions, NoRepeatedNgrams, SampleOptions
from seesay.search.step import FORBIDDEN


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> CaptionModel:
    return CaptionModel.load(tiny_bundle, threads=1)


def facts(caption: Caption) -> tuple[Any, ...]:
    words = [(word.text, word.logprob, word.attention.tobytes()) for word in caption.words]
    return caption.text, caption.score, caption.image, words


def texts(captions: Any) -> list[str]:
    assert isinstance(captions, list)
    return [caption.text for caption in captions]


def test_an_encoded_photo_takes_the_place_of_the_photo(model: CaptionModel, tiny_photos: list[Path]) -> None:
    photo = model.encode(tiny_photos[1])
    assert (photo.image, photo.picture.mode, photo.picture.size) == (str(tiny_photos[1]), "RGB", (51, 78))
    text = SENTENCES[0]
    for given in (tiny_photos[1], photo):
        assert facts(model.caption(given, beam=2)) == facts(model.caption(photo, beam=2))
        assert [*map(facts, model.alternatives(given))] == [*map(facts, model.alternatives(photo))]
        assert [*map(facts, model.sample(given, seed=3))] == [*map(facts, model.sample(photo, seed=3))]
        assert facts(model.score(given, text)) == facts(model.score(photo, text))
    [many, _] = model.caption_many([photo, tiny_photos[0]])
    assert isinstance(many, Caption)
    assert (many.text, many.image) == (model.caption(photo).text, photo.image)
    assert model.encode(tiny_photos[1].read_bytes()).image is None


def test_a_photo_is_encoded_once(model: CaptionModel, tiny_photos: list[Path]) -> None:
    calls = []

    def counted(pixels: np.ndarray) -> Any:
        calls.append(pixels.shape)
        return model.engine.encoder(pixels)

    watched = model.with_engines(lambda engine: replace(engine, encoder=counted))
    photo = watched.encode(tiny_photos[0])
    watched.caption(photo)
    watched.alternatives(photo, 3)
    watched.score(photo, SENTENCES[0])
    list(watched.caption_many([photo] * 20, alternatives=2))
    assert len(calls) == 1
    watched.caption(tiny_photos[0])
    assert len(calls) == 2


def test_the_picture_is_upright_and_a_large_jpeg_is_reduced(model: CaptionModel, tmp_path: Path) -> None:
    image = Image.new("RGB", (1600, 800), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "large.jpg", exif=exif)
    picture = model.encode(tmp_path / "large.jpg").picture
    assert picture.size == (200, 400)
    assert min(picture.size) >= 2 * model.bundle.transform.size


def test_a_photo_that_another_model_encoded_is_refused(
    model: CaptionModel, tiny_bundle: Path, tiny_photos: list[Path]
) -> None:
    photo = model.encode(tiny_photos[0])
    other = CaptionModel(replace(model.bundle, folder=Path("elsewhere")), engines=lambda threads: model.engine)
    with pytest.raises(ValueError, match=r"^the photo was encoded by .*tiny, this is .*elsewhere: encode it anew$"):
        other.caption(photo)


@pytest.mark.parametrize(("n", "beam"), [(5, None), (2, None), (1, None), (2, 6), (6, 2), (1, 1)])
def test_alternatives_begin_with_the_caption(
    model: CaptionModel, tiny_photos: list[Path], n: int, beam: int | None
) -> None:
    wide = max(beam or model.bundle.search.beam, n)
    many = list(model.caption_many(tiny_photos, beam=beam, alternatives=n, batch_size=4))
    for path, together in zip(tiny_photos, many, strict=True):
        photo = model.encode(path)
        found = model.alternatives(photo, n, beam)
        assert len(found) == n
        assert len(set(texts(found))) == n, "all are different"
        assert facts(found[0]) == facts(model.caption(photo, beam=wide))
        ranks = [c.score / (len(c.words) + 1) ** model.bundle.search.length_penalty for c in found]
        if not any("'" in text for text in texts(found)):  # a clitic is a token of its own
            rises = [i for i, (one, next_) in enumerate(pairwise(ranks)) if next_ > one]
            assert len(rises) <= 1, "those that the search had given up come last"
        assert texts(together) == texts(found)


def test_samples_depend_on_photo_and_seed_alone(model: CaptionModel, tiny_photos: list[Path]) -> None:
    """Not on the batch, the threads, the order, nor on how many are drawn."""
    options = SampleOptions(n=4, temperature=1.5, top_p=0.95, seed=7)
    alone = [texts(model.sample(photo, 4, 1.5, 0.95, 7)) for photo in tiny_photos]
    assert len({tuple(sentences) for sentences in alone}) == len(alone), "each photo has noise of its own"
    for batch_size in (1, 3, 16):
        together = list(model.caption_many(tiny_photos, batch_size, sample=options))
        assert [*map(texts, together)] == alone
    backwards = list(model.caption_many(tiny_photos[::-1], sample=options))
    assert [*map(texts, backwards)][::-1] == alone
    assert texts(model.sample(tiny_photos[0], 2, 1.5, 0.95, 7)) == alone[0][:2]
    assert texts(model.sample(tiny_photos[0], 4, 1.5, 0.95, 8)) != alone[0]


def test_a_sample_has_the_models_own_score(model: CaptionModel, tiny_photos: list[Path]) -> None:
    photo = model.encode(tiny_photos[2])
    drawn = model.sample(photo, 20, temperature=2.0, top_p=1.0, seed=1)
    assert len(set(texts(drawn))) > 5
    for caption in drawn:
        if caption.words:
            again = model.score(photo, caption.text)
            assert again.score == pytest.approx(caption.score, abs=1e-3)
            for one, other in zip(caption.words, again.words, strict=True):
                assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
                np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)


def test_samples_keep_to_the_models_rules_and_their_own(model: CaptionModel, tiny_photos: list[Path]) -> None:
    rules = replace(model.bundle.search, max_words=7, constraints=(NoRepeatedNgrams(1),))
    strict = CaptionModel(replace(model.bundle, search=rules), engines=lambda threads: model.engine)
    drawn = strict.sample(tiny_photos[0], 30, temperature=2.0, top_p=1.0)
    assert max(len(split_words(text)) for text in texts(drawn)) == 7
    assert all(len(set(words)) == len(words) for words in map(split_words, texts(drawn)))
    [short] = strict.caption_many([tiny_photos[0]], sample=SampleOptions(30, 2.0, 1.0, max_words=3))
    assert max(len(split_words(text)) for text in texts(short)) == 3


def test_the_score_is_that_of_the_caption(model: CaptionModel, tiny_photos: list[Path]) -> None:
    for path in tiny_photos:
        photo = model.encode(path)
        caption = model.caption(photo)
        found = model.score(photo, f"  {caption.text.capitalize()}. ")
        assert (found.text, found.image) == (caption.text, str(path))
        assert found.score == pytest.approx(caption.score, abs=1e-3)
        for one, other in zip(found.words, caption.words, strict=True):
            assert one.text == other.text
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)
        other = model.score(photo, "a ball ball ball on the on the on the on the on the on the on the ball")
        assert len(other.words) > model.bundle.search.max_words, "no rule applies"
        assert other.score < found.score


def test_scores_of_many_photos(model: CaptionModel, tiny_photos: list[Path]) -> None:
    several: list[Any] = [*tiny_photos[:3], "gone.jpg", *tiny_photos[3:]]
    found = list(model.score_many(several, SENTENCES[0], batch_size=3))
    assert isinstance(found.pop(3), Failure)
    for path, scored in zip(tiny_photos, found, strict=True):
        assert isinstance(scored, Caption)
        assert scored.score == pytest.approx(model.score(path, SENTENCES[0]).score, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a zorblax runs after a quux", "text: the model does not know 'zorblax', 'quux'."),
        ("a dag runs", "text: the model does not know 'dag'. Did you mean 'dog'?"),
        ("a dag and a dag", "text: the model does not know 'dag', 'and'."),
        (" ... ", "text: no words in ' ... '"),
    ],
)
def test_words_that_the_model_does_not_know_are_named(
    model: CaptionModel, tiny_photos: list[Path], text: str, said: str
) -> None:
    for call in (model.score, model.score_many):
        with pytest.raises(TextError) as caught:
            call(tiny_photos[0], text)  # pyright: ignore[reportArgumentType]
        assert str(caught.value) == said
    with pytest.raises(TextError) as caught:
        model.caption(tiny_photos[0], prefix=text)
    assert str(caught.value) == said.replace("text", "prefix")


def every_call(model: CaptionModel, photo: EncodedPhoto) -> list[Callable[..., Any]]:
    """Each gives captions of the photo by another call."""
    return [
        lambda **wishes: [model.caption(photo, **wishes)],
        lambda **wishes: model.alternatives(photo, 4, **wishes),
        lambda **wishes: model.sample(photo, 6, temperature=1.5, **wishes),
        lambda **wishes: next(model.caption_many([photo], alternatives=3, **wishes)),
        lambda **wishes: next(model.caption_many([photo], sample=SampleOptions(3), **wishes)),
    ]


def test_what_a_caller_asks_of_every_sentence(model: CaptionModel, tiny_photos: list[Path]) -> None:
    for path in tiny_photos:
        photo = model.encode(path)
        free = {word for text in texts([model.caption(photo)]) for word in split_words(text)} - {"a", "the"}
        word = sorted(free)[0]
        for call in every_call(model, photo):
            assert all(text.startswith("two dogs") for text in texts(call(prefix="Two dogs")))
            assert all(len(split_words(text)) <= 4 for text in texts(call(max_words=4)))
            for forbid in (word, [word.upper(), "giraffe"], f"giraffe, {word}"):
                assert all(word not in split_words(text) for text in texts(call(forbid=forbid)))
            found = call(prefix="two dogs", max_words=2, forbid=word if word not in ("two", "dogs") else "ball")
            assert set(texts(found)) == {"two dogs"}


def test_wishes_that_cannot_be_are_said_at_once(model: CaptionModel, tiny_photos: list[Path]) -> None:
    photo = tiny_photos[0]
    with pytest.raises(TextError, match=r"^prefix: 'dogs' is among the forbidden words$"):
        model.caption(photo, prefix="two dogs", forbid="dogs")
    with pytest.raises(ValueError, match=r"^prefix of 2 words: max_words=1 leaves no room for it$"):
        model.caption(photo, prefix="two dogs", max_words=1)
    with pytest.raises(ValueError, match=r"^max_words=0: expected at least 1$"):
        model.caption_many([photo], max_words=0)
    with pytest.raises(ValueError, match=r"^n=0: expected at least 1$"):
        model.alternatives(photo, 0)
    with pytest.raises(ValueError, match=r"^alternatives and sample: expected one of the two$"):
        model.caption_many([photo], alternatives=2, sample=SampleOptions())  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"prefx"):
        model.caption(photo, prefx="a")  # pyright: ignore[reportCallIssue]


def test_failures_stand_among_lists(model: CaptionModel, tiny_photos: list[Path]) -> None:
    first, failure, last = model.caption_many([tiny_photos[0], "gone.jpg", tiny_photos[1]], alternatives=2)
    assert failure == Failure("gone.jpg", "no such file")
    assert len(texts(first)) == len(texts(last)) == 2


def test_words_in_pieces_are_forbidden_however_they_are_cut() -> None:
    """Of all ways to write a word none is left, and all of "dogs" is left when "dog" is not a piece of it."""
    tokenizer = CaptionTokenizer.build(SENTENCES, kind="bpe", vocab_size=60)
    constraint = forbidden_words(tokenizer, ["dog", "giraffe", "x"])
    assert isinstance(constraint, ForbiddenPieces)
    size = len(tokenizer)

    def forbidden_after(*ids: int) -> set[str]:
        allowed = np.zeros((1, 1, size), np.float32)
        constraint(allowed, np.array([[ids]], np.int64).reshape(1, 1, len(ids)))
        return {tokenizer.token(int(i)) for i in np.flatnonzero(allowed[0, 0] == FORBIDDEN)}

    ids = {tokenizer.token(i): i for i in range(size)}
    assert forbidden_after() == {"dog"} & ids.keys()
    assert forbidden_after(ids["d"], ids["##o"]) - {"dog"} == {"##g"}
    assert forbidden_after(ids["b"], ids["##o"]) - {"dog"} == set()
    written = [()]
    for length in range(1, 4):
        written = [
            (*before, i)
            for before in itertools.chain(written)
            if len(before) == length - 1
            for token, i in ids.items()
            if token.strip("#") and set(token.strip("#")) <= set("dog") and token not in forbidden_after(*before)
        ]
        assert all("dog" not in split_words(tokenizer.decode(sentence)) for sentence in written)


def test_a_constraint_of_ones_own(model: CaptionModel, tiny_photos: list[Path]) -> None:
    """Anything that can be called so; here sentences of an even number of words."""
    end = 2

    def even(allowed: np.ndarray, written: np.ndarray) -> None:
        if written.shape[-1] % 2:
            allowed[..., end] = FORBIDDEN

    for path in tiny_photos:
        assert all(len(split_words(text)) % 2 == 0 for text in texts(model.alternatives(path, constraints=[even])))


def test_wishes_leave_the_options_alone(model: CaptionModel) -> None:
    options = BeamOptions(4, 0.5, max_words=9)
    assert with_rules(options, model.bundle.tokenizer) is options
    assert with_rules(options, model.bundle.tokenizer, max_words=3) == BeamOptions(4, 0.5, max_words=3)


def test_names_of_the_package() -> None:
    import seesay

    assert (seesay.CaptionModel, seesay.SampleOptions) == (CaptionModel, SampleOptions)
    assert all(hasattr(seesay, name) for name in seesay.__all__)
    with pytest.raises(AttributeError, match=r"^module 'seesay' has no attribute 'laod'$"):
        seesay.laod  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_rules_that_allow_no_sentence_are_said(model: CaptionModel, tiny_photos: list[Path]) -> None:
    def nothing(allowed: np.ndarray, written: np.ndarray) -> None:
        allowed[...] = FORBIDDEN

    for ask in (
        lambda: model.caption(tiny_photos[0], constraints=[nothing]),
        lambda: model.alternatives(tiny_photos[0], 3, constraints=[nothing]),
        lambda: list(model.caption_many(tiny_photos[:2], constraints=[nothing])),
    ):
        with pytest.raises(TextError, match=r"^the rules allow no sentence$"):
            ask()
