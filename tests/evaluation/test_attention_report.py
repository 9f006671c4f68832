"""The proofs of attention: deletion on a model whose needs are known, swap by hand, occlusion, the whole report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import SENTENCES
from PIL import Image

import seesay
from seesay.caption import Caption, Word
from seesay.data.hiding import hide
from seesay.data.images import open_photo
from seesay.data.records import BoxedObject, CaptionRecord
from seesay.data.tokens import BOS
from seesay.evaluation.attention_report import evaluate_attention
from seesay.evaluation.deletion import Sentence, deletion
from seesay.evaluation.named_words import absent_words, mentioned_words, named_words
from seesay.evaluation.with_torch.randomised import randomised
from seesay.evaluation.with_torch.sentences import TorchSentences
from seesay.evaluation.with_torch.swap import swap
from seesay.explain import render_page
from seesay.export.write import write_bundle
from seesay.metrics.localisation import NamedWord
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder_weights import load_encoder
from seesay.runtime import CaptionModel
from seesay.runtime.occlusion import patch_grid, word_logprobs
from seesay.search import BeamOptions

LEFT = (0.0, 0.0, 0.5, 1.0)


class NeedsTheCorner:
    """A model whose every word is the likelier the brighter the upper left quarter is."""

    def score_many(self, pictures: Any, text: str) -> Any:
        for picture in pictures:
            pixels = np.asarray(picture, dtype=float)
            bright = pixels[: pixels.shape[0] // 2, : pixels.shape[1] // 2].mean() / 255
            blank = np.full((2, 2), 0.25)
            yield Caption(text, 0.0, tuple(Word(word, bright - 1, blank) for word in text.split()))


def bright_corner() -> Image.Image:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20, :20] = 255
    return Image.fromarray(pixels)


def looking(row: int, col: int, position: int = 1) -> NamedWord:
    weights = np.full((2, 2), 0.1)
    weights[row, col] = 0.7
    box = (col / 2, row / 2, col / 2 + 0.5, row / 2 + 0.5)
    return NamedWord("a", "dog", weights, (box,), position, 0.0)


def test_deletion_finds_what_a_word_needs():
    """The first word looks where it needs to, the second beside it: hiding tells them apart."""
    sentence = Sentence("a", bright_corner(), "a dog runs", (looking(0, 0, 1), looking(1, 1, 2)))
    model = cast(CaptionModel, NeedsTheCorner())
    (fall,) = deletion(model, [sentence], fills=["mean"], shares=[0.25])
    # The mean of the photo is 64 (63.75): hiding the corner costs 1 - 64 / 255, anything else nothing.
    assert fall.falls["top"].mean == pytest.approx((1 - 64 / 255) / 2)
    assert fall.falls["other_word"].mean == pytest.approx((1 - 64 / 255) / 2)
    assert fall.gaps["other_word"].mean == pytest.approx(0)
    (alone,) = deletion(model, [replace(sentence, words=sentence.words[:1])], fills=["mean"], shares=[0.25])
    assert alone.falls["top"].mean == pytest.approx(1 - 64 / 255)
    assert alone.falls["least"].mean == pytest.approx(0)
    assert alone.falls["other_word"].words == 0
    (shown,) = deletion(model, [replace(sentence, words=sentence.words[:1])], True, ["mean"], [0.25])
    assert shown.falls["top"].mean == pytest.approx(0) and shown.gaps["least"].mean < -0.5


KINDS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "hard": {"attention": {"kind": "hard"}},
    "adaptive": {"decoder": {"design": "adaptive"}},
    "transformer": {"decoder": {"kind": "transformer", "size": 12, "layers": 2}},
}


@pytest.fixture(params=KINDS)
def decoder(request: pytest.FixtureRequest, tiny_recipe: Any, tiny_tokenizer: Any) -> Any:
    from seesay.config import Recipe

    torch.manual_seed(8)
    values = tiny_recipe.to_dict()
    for section, keys in KINDS[request.param].items():
        values[section] = values[section] | keys
    encoder = load_encoder(tiny_recipe.encoder.name, "none", 96)
    built = build_decoder(Recipe.from_dict(values), encoder, len(tiny_tokenizer)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(3)  # maps that are far from uniform
    return built


def test_swap_replaces_what_the_word_is_made_of(decoder):
    """Own weights change nothing; each replaced map gives what the step gives with those weights."""
    torch.manual_seed(1)
    regions = [torch.randn(int(np.prod(decoder.grid)), decoder.region_size) for _ in range(3)]
    sentences = [[4, 9, 6], [5, 4, 7, 8], [6, 7]]
    positions = [[0, 2], [1, 3], [1]]
    found = swap(decoder, TorchSentences(regions, sentences, positions, ["a", "b", "c"]))
    assert found.own < 1e-4
    assert [found.falls[kind].words for kind in ("uniform", "other_word", "other_photo")] == [5, 4, 4]
    if not getattr(decoder, "hard", False):
        expected = np.mean(
            [uniform_fall(decoder, r, s, t) for r, s, p in zip(regions, sentences, positions, strict=True) for t in p]
        )
        assert found.falls["uniform"].mean == pytest.approx(expected, abs=1e-5)
        assert abs(expected) > 1e-3
    assert not decoder.region_weights._forward_hooks, "nothing stays behind"


def test_random_weights_change_maps_once_they_reach_the_attention(decoder):
    """What is behind the attention cannot: with the words given, maps stay as they are."""
    torch.manual_seed(1)
    regions = [torch.randn(int(np.prod(decoder.grid)), decoder.region_size) for _ in range(3)]
    sentences = TorchSentences(regions, [[4, 9, 6], [5, 4, 7, 8], [6, 7]], [[0, 2], [1, 3], [1]], ["a", "b", "c"])
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    found = randomised(decoder, sentences)
    assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.state_dict().items())
    correlations = [share.mean for share in found.values()]
    output = [name for name in found if name in ("deep_out", "norm_out")]
    assert output and all(found[name].mean == pytest.approx(1, abs=1e-6) for name in output[:1])
    assert correlations[-1] < 0.9
    assert {share.words for share in found.values()} == {5}
    assert {name.split(".")[0] for name in found} <= set(dict(decoder.named_children()))


@torch.no_grad()
def uniform_fall(decoder: Any, regions: torch.Tensor, ids: list[int], at: int) -> float:
    """The fall where every region has the same score: keys are 0, so all of a softmax's scores are equal."""
    memory = decoder.prepare(regions.unsqueeze(0))
    read = torch.tensor([[BOS, *ids]])
    state = decoder.start(memory, 1)
    for t in range(at):
        state = decoder.step(read[:, t : t + 1], state, memory).state
    own = decoder.step(read[:, at : at + 1], state, memory).logprobs[0, 0, ids[at]]
    mean = decoder.region_weights.register_forward_hook(lambda module, scores, out: (scores[0] * 0).softmax(-1))
    flat = decoder.step(read[:, at : at + 1], state, memory).logprobs[0, 0, ids[at]]
    mean.remove()
    return float(own - flat)


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> CaptionModel:
    return CaptionModel.load(tiny_bundle, threads=1)


def test_occlusion_is_the_fall_with_one_patch_hidden(model, tiny_photos):
    photo = model.encode(tiny_photos[0])
    caption = model.caption(photo)
    falls = model.occlusion(photo, caption)
    rows, cols = model.bundle.grid
    assert falls.shape == (len(caption.words), rows, cols) and falls.dtype == np.float32
    patch = np.zeros((rows, cols), dtype=bool)
    patch[1, 2] = True
    hidden = model.score(hide(photo.picture, patch, "mean"), caption.text)
    expected = [own.logprob - other.logprob for own, other in zip(caption.words, hidden.words, strict=True)]
    np.testing.assert_allclose(falls[:, 1, 2], expected, atol=1e-4)
    np.testing.assert_allclose(model.occlusion(tiny_photos[0], caption.text), falls, atol=1e-4)


@pytest.mark.parametrize(
    ("grid", "patches"), [((8, 8), (8, 8)), ((16, 16), (8, 8)), ((7, 13), (5, 10)), ((3, 2), (3, 2))]
)
def test_no_more_than_64_patches(grid, patches):
    assert patch_grid(grid) == patches


def scored(*words: str) -> Caption:
    return Caption(" ".join(words), -1.0, tuple(Word(word, -0.5, np.full((2, 2), 0.25)) for word in words))


def record(*objects: BoxedObject, captions: tuple[str, ...] = SENTENCES[:2]) -> CaptionRecord:
    return CaptionRecord("a", Path("a.jpg"), captions, "dev", objects)


def test_words_that_name_mention_or_invent_things():
    ball = BoxedObject("other", (LEFT,), frozenset({"ball"}), ((0, 2), (1, 3)))
    known = record(ball)
    assert [(w.noun, w.position) for w in named_words(scored("two", "balls", "run"), known)] == [("ball", 1)]
    # In the second caption "dog's" is one shown word of two tokens, so the ball is its third word.
    (mention,) = mentioned_words(scored("the", "dog's", "ball", "is", "on", "the", "grass"), known, 1)
    assert mention.position == 2 and mention.boxes == (LEFT,)
    invented = absent_words(scored("a", "dog", "and", "a", "horse", "with", "a", "ball"), known)
    assert [word.noun for word in invented] == ["horse"]


def test_the_whole_report(model, tiny_photos):
    """Every figure is there, and plain JSON; the pointing of own captions is that of the maps that are shown."""
    thing = BoxedObject("other", (LEFT,), frozenset({"ball", "dog", "grass", "fence"}), ((0, 2),))
    records = [CaptionRecord(str(n), path, SENTENCES[:1], "dev", (thing,)) for n, path in enumerate(tiny_photos[:3])]
    captions = {r.id: model.caption(r.image) for r in records}
    report = evaluate_attention(model, records, captions, photos=2)
    found = json.loads(json.dumps(report.to_dict()))
    assert set(found) == {"localisation", "deletion", "insertion", "occlusion", "absent", "swap", "randomised"}
    own = found["localisation"]["own"]["all"]["attention"]["pointing"]
    words = [word for r in records for word in named_words(captions[r.id], r)]
    hits = [
        np.unravel_index(word.attention.argmax(), word.attention.shape)[1] < model.bundle.grid[1] / 2 for word in words
    ]
    assert own["words"] == len(words) > 0 and own["mean"] == pytest.approx(np.mean(hits), abs=1e-3)
    assert found["localisation"]["references"]["all"]["attention"]["pointing"]["words"] == 3
    assert len(found["deletion"]) == len(found["insertion"]) == 9
    assert all(-1 <= part["mean"] <= 1 for part in found["randomised"].values())
    assert found["swap"]["own"] < 1e-3 and found["swap"]["falls"]["uniform"]["words"] > 0
    assert any("pointing, own captions" in line for line in report.lines())


def test_word_logprobs_of_many_pictures(model, tiny_photos):
    pictures = [Image.open(path).convert("RGB") for path in tiny_photos[:2]]
    found = word_logprobs(model, pictures, SENTENCES[0])
    assert found.shape[0] == 2
    expected = [word.logprob for word in model.score(tiny_photos[1], SENTENCES[0]).words]
    np.testing.assert_allclose(found[1], expected, atol=1e-4)


def test_the_region_that_hard_attention_took_is_framed(
    tmp_path: Path, tiny_recipe: Any, tiny_captioner: Any, tiny_tokenizer: Any, tiny_photos: list[Path]
) -> None:
    """In the JSON, the figure and the page; a model with soft attention frames nothing."""
    recipe = replace(tiny_recipe, attention=replace(tiny_recipe.attention, kind="hard"))
    decoder = build_decoder(recipe, tiny_captioner.encoder, len(tiny_tokenizer)).eval()
    decoder.load_state_dict(tiny_captioner.decoder.state_dict())
    hard = Captioner(tiny_captioner.encoder, decoder)
    model = seesay.load(write_bundle(tmp_path / "hard", recipe, hard, tiny_tokenizer, BeamOptions(max_words=5)))
    caption = model.caption(tiny_photos[0])
    assert caption.words
    for word in caption.words:
        row, column = np.unravel_index(word.attention.argmax(), word.attention.shape)
        assert word.chosen == ((row, column),)
    assert caption.to_dict(attention=True)["words"][0]["chosen"] == [list(caption.words[0].chosen[0])]
    assert "chosen" not in caption.to_dict()["words"][0]
    soft = replace(caption, words=tuple(replace(word, chosen=()) for word in caption.words))
    assert "chosen" not in soft.to_dict(attention=True)["words"][0]
    row, column = caption.words[0].chosen[0]
    framed, plain = (np.asarray(c.overlay(tiny_photos[0], 0)).astype(int) for c in (caption, soft))
    rows, cols = np.nonzero(np.abs(framed - plain).sum(-1))
    high, wide = framed.shape[0] / 3, framed.shape[1] / 3
    assert rows.min() == pytest.approx(row * high, abs=1) and rows.max() + 1 == pytest.approx((row + 1) * high, abs=1)
    assert cols.min() == pytest.approx(column * wide, abs=1)
    assert caption.figure(tiny_photos[0]).tobytes() != soft.figure(tiny_photos[0]).tobytes()
    picture = open_photo(tiny_photos[0])
    assert f'data-chosen="[[{row}, {column}]]"' in render_page([(picture, caption)])
    assert "data-chosen=" not in render_page([(picture, soft)])
