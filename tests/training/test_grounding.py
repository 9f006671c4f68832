"""Teaching attention where named things are: the loss by hand, in every decoder and objective, through crops."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SENTENCES
from PIL import Image

from seesay.config import Recipe
from seesay.data.augment import Augmentation
from seesay.data.images import open_photo
from seesay.data.records import BoxedObject, CaptionRecord
from seesay.data.tokens import EOS, PAD, CaptionTokenizer
from seesay.errors import RecipeError
from seesay.geometry import box_coverage, crop_box
from seesay.models.build import build_decoder
from seesay.models.decoder import Decoded
from seesay.models.encoder_weights import load_encoder
from seesay.training.inputs.batches import CaptionBatch, CaptionBatches
from seesay.training.inputs.photos import PhotoFiles
from seesay.training.objectives.from_recipe import build_objective
from seesay.training.objectives.grounding import Grounding, apart
from seesay.training.objectives.reading import BoxedWords, Reading, read
from seesay.training.objectives.reliance import OTHER_PHOTO, OTHER_WORD, UNIFORM, Reliance, other_weights
from seesay.training.preflight import preflight

LEFT, RIGHT, DOT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 0.1, 0.1)
WHOLE_PHOTOS = torch.empty(0, 4)


def record(*objects: BoxedObject, captions: tuple[str, ...] = ("a dog runs after a dog",)) -> CaptionRecord:
    return CaptionRecord("a", Path("a.jpg"), captions, "train", objects)


def thing(box: Any, *names: str, mentions: tuple[tuple[int, int], ...] = ()) -> BoxedObject:
    return BoxedObject("other", (box,), frozenset(names), mentions)


@pytest.fixture(scope="module")
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer.build(["a dog runs after a dog and the red ball"], min_count=1)


def padded(tokenizer: CaptionTokenizer, *sentences: str) -> torch.Tensor:
    rows = [[*tokenizer.encode(sentence), EOS] for sentence in sentences]
    longest = max(map(len, rows))
    return torch.tensor([[row + [PAD] * (longest - len(row)) for row in rows]])


def test_the_loss_by_hand(tokenizer):
    """Two words have boxes: one is looked at by 0.7 of the attention, of the other's region 0.25 is covered."""
    loss = Grounding([record(thing(LEFT, "dog"), thing((0.5, 0, 0.75, 0.5), "ball"))], tokenizer, (1, 2), 2.0)
    sentences = padded(tokenizer, "a dog and the ball")
    attention = torch.full((1, 1, 6, 2), 0.5)
    attention[0, 0, 1] = torch.tensor([0.7, 0.3])
    attention[0, 0, 4] = torch.tensor([0.9, 0.1])
    found = loss.looking(attention, loss.words(sentences, torch.tensor([0]), WHOLE_PHOTOS))
    assert float(found) == pytest.approx(-2.0 * (math.log(0.7) + math.log(0.1)) / 2, rel=1e-5)


def test_looking_into_the_box_costs_nothing_even_where_it_is_tiny(tokenizer):
    loss = Grounding([record(thing(DOT, "dog"))], tokenizer, (2, 2), 1.0)
    attention = torch.zeros(1, 1, 3, 4)
    attention[..., 0] = 1
    assert float(loss.looking(attention, loss.words(padded(tokenizer, "a dog"), torch.tensor([0]), WHOLE_PHOTOS))) == 0


def test_a_phrase_has_its_own_box_and_other_sentences_the_boxes_of_all_that_is_called_so(tokenizer):
    first, second = thing(LEFT, "dog", mentions=((0, 1),)), thing(RIGHT, "dog", mentions=((0, 5),))
    loss = Grounding([record(first, second)], tokenizer, (1, 2), 1.0)
    caption, other = (tokenizer.encode(text) for text in ("a dog runs after a dog", "the dog runs"))
    assert loss.boxes(0, caption) == {1: (LEFT,), 5: (RIGHT,)}
    assert loss.boxes(0, other) == {1: (LEFT, RIGHT)}


def test_pieces_of_a_word_all_have_its_boxes():
    pieces = CaptionTokenizer.build(["dog dig dip after"] * 3, kind="bpe", vocab_size=24)
    ids = pieces.encode("a dog")
    dog = [t for t, number in enumerate(pieces.word_numbers("a dog")) if number == 1]
    assert len(dog) > 1, "the word is in pieces"
    mention = thing(LEFT, "x", mentions=((0, 1),))
    for objects in ((thing(LEFT, "dog"),), (mention,)):
        loss = Grounding([record(*objects, captions=("a dog",))], pieces, (1, 2), 1.0)
        assert loss.boxes(0, ids) == dict.fromkeys(dog, (LEFT,))


def test_nothing_is_asked_where_nothing_is_named_or_the_crop_does_not_show_it(tokenizer):
    loss = Grounding([record(thing(DOT, "dog")), record()], tokenizer, (2, 2), 1.0)
    attention = torch.full((1, 1, 3, 4), 0.25, requires_grad=True)
    dog, ball = padded(tokenizer, "a dog"), padded(tokenizer, "a ball")
    elsewhere = torch.tensor([[0.5, 0.5, 1.0, 1.0]], dtype=torch.float64)
    assert float(loss.looking(attention, loss.words(ball, torch.tensor([0]), WHOLE_PHOTOS))) == 0
    assert float(loss.looking(attention, loss.words(dog, torch.tensor([1]), WHOLE_PHOTOS))) == 0
    assert float(loss.looking(attention, loss.words(dog, torch.tensor([0]), elsewhere))) == 0
    assert float(loss.looking(attention, loss.words(dog, torch.tensor([0]), WHOLE_PHOTOS)).detach()) > 0


def test_what_follows_the_end_does_not_count(tokenizer):
    loss = Grounding([record(thing(DOT, "dog"))], tokenizer, (2, 2), 1.0)
    sentence = torch.tensor([[[*tokenizer.encode("a"), EOS, *tokenizer.encode("dog")]]])
    assert (
        float(loss.looking(torch.full((1, 1, 3, 4), 0.25), loss.words(sentence, torch.tensor([0]), WHOLE_PHOTOS))) == 0
    )


def test_boxes_follow_the_photo_through_crop_and_mirror(tmp_path):
    """A white block on black: its box, put through the variant's crop, covers what the variant's pixels show."""
    pixels = np.zeros((97, 131, 3), np.uint8)
    pixels[20:60, 70:110] = 255
    box = (70 / 131, 20 / 97, 110 / 131, 60 / 97)
    path = tmp_path / "block.png"
    Image.fromarray(pixels).save(path)
    files = PhotoFiles([replace(record(), image=path)], lambda photo: photo, Augmentation(area=0.5), seed=4)  # pyright: ignore[reportArgumentType]
    mirrored = 0
    for epoch in range(12):
        shown = np.asarray(files.image(0, epoch))[..., 0] > 100  # the transform above keeps the picture
        crop = files.crop(0, epoch)
        mirrored += crop[0] > crop[2]
        seen = crop_box(box, crop)
        expected = box_coverage([seen] if seen else [], shown.shape[:2])  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(shown, expected > 0.5)
    assert 0 < mirrored < 12


def test_the_size_of_a_turned_photo_is_that_of_the_upright_one(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 90)).save(path, exif=exif)
    assert open_photo(path).size == (90, 40)
    files = PhotoFiles([replace(record(), image=path)], lambda photo: photo, Augmentation(), seed=4)  # pyright: ignore[reportArgumentType]
    left, top, right, bottom = files.crop(0)
    size = np.asarray(files.image(0)).shape
    assert abs(right - left) * 90 == pytest.approx(size[1]) and (bottom - top) * 40 == pytest.approx(size[0])


def test_batches_tell_which_part_of_each_photo_they_show():
    features: Any = SimpleNamespace(readable=np.ones(3, bool))
    crop = lambda photo, epoch: (0.1 * photo, 0.0, 1.0, 0.5 + 0.1 * epoch)  # noqa: E731
    batches = CaptionBatches(features, [[[4]], [[5]], [[6]]], 3, 9, 0, crop=crop)
    crops = batches.words(np.array([2, 0]), epoch=3)[-1]
    np.testing.assert_allclose(crops, [[0.2, 0, 1, 0.8], [0, 0, 1, 0.8]])
    assert CaptionBatches(features, [[[4]]] * 3, 3, 9, 0).words(np.array([1]))[-1].shape == (0, 4)


MODELS: dict[str, dict[str, Any]] = {
    "additive": {},
    "dot": {"attention": {"score": "dot", "size": 8}, "decoder": {"kind": "gru", "size": 12}},
    "hard": {"attention": {"kind": "hard"}},
    "adaptive": {"decoder": {"design": "adaptive", "size": 12}},
    "up_down": {"decoder": {"design": "up_down", "size": 12}},
    "transformer": {"decoder": {"kind": "transformer", "size": 12, "layers": 2}},
}


def lesson(recipe: Recipe, tokenizer: CaptionTokenizer, kind: str, sides: Sequence[Any], **train: float) -> Any:
    """An objective of `MODELS`, a batch of a photo for each side where the ball is, and the ball's step."""
    values = recipe.to_dict()
    for section, keys in MODELS[kind].items():
        values[section] = values[section] | keys
    values["train"] |= train
    values["data"] |= {"path": ["x"], "boxes": ["x"]}
    values["decoder"] |= {"dropout": 0.0}
    recipe = Recipe.from_dict(values)
    encoder = load_encoder(recipe.encoder.name, "none", 96)
    decoder = build_decoder(recipe, encoder, len(tokenizer))
    records = [
        replace(record(thing(side, "ball"), captions=SENTENCES[:1]), id=str(number))
        for number, side in enumerate(sides)
    ]
    regions = torch.randn(len(sides), decoder.grid[0] * decoder.grid[1], encoder.depth)
    targets = padded(tokenizer, SENTENCES[0]).expand(len(sides), 1, -1)
    inputs = torch.cat([torch.ones_like(targets[..., :1]), targets[..., :-1]], dim=-1)
    lengths = torch.full((len(sides), 1), targets.shape[2])
    batch = CaptionBatch(regions, inputs, targets, lengths, torch.arange(len(sides)))
    ball = targets[0, 0].tolist().index(tokenizer.encode("ball")[0])
    return build_objective(recipe, decoder, tokenizer, records), batch, ball


def learn(objective: Any, batch: CaptionBatch, steps: int = 60) -> None:
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.01)
    for step in range(steps):
        optimiser.zero_grad()
        objective(batch, step / steps).backward()
        optimiser.step()


@pytest.mark.parametrize("kind", MODELS)
def test_every_decoder_learns_to_look_where_it_is_told(kind, tiny_recipe, tiny_tokenizer):
    """Of two photos the ball is left in one and right in the other; half a minute of steps at a tiny size."""
    torch.manual_seed(2)
    objective, batch, ball = lesson(tiny_recipe, tiny_tokenizer, kind, (LEFT, RIGHT), grounding=1.0)
    decoder = objective.decoder
    sides = [box_coverage([side], decoder.grid).ravel() > 0.5 for side in (LEFT, RIGHT)]

    def masses() -> list[float]:
        with torch.no_grad():
            maps = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions)).attention[:, 0, ball].numpy()
        return [float(maps[photo][side].sum()) for photo, side in enumerate(sides)]

    before = masses()
    learn(objective, batch)
    assert max(before) < 0.8 and min(masses()) > 0.9, (before, masses())


def test_self_critical_training_grounds_its_own_sentences(tiny_recipe, tiny_tokenizer, tiny_captioner):
    """Its loss with the term is that without it, plus the term of what its search found, and of the captions."""
    from seesay.training.generate import beam_sentences

    values = tiny_recipe.to_dict()
    values["train"] |= {"objective": "self_critical", "init": ["x"], "samples": 2, "grounding": 0.5}
    values["data"] |= {"path": ["x"], "boxes": ["x"]}
    recipe = Recipe.from_dict(values)
    decoder = tiny_captioner.decoder
    names = ("ball", "dog", "dogs", "fence", "grass")
    records = [record(thing(LEFT, *names), captions=SENTENCES)] * 2
    objective = build_objective(recipe, decoder, tiny_tokenizer, records).eval()
    plain = build_objective(
        replace(recipe, train=replace(recipe.train, grounding=0.0)), decoder, tiny_tokenizer, records
    ).eval()
    regions = torch.randn(2, int(np.prod(decoder.grid)), decoder.region_size)
    targets = padded(tiny_tokenizer, SENTENCES[0]).expand(2, 1, -1)
    inputs = torch.cat([torch.ones_like(targets[..., :1]), targets[..., :-1]], dim=-1)
    lengths = torch.full((2, 1), targets.shape[2])
    batch = CaptionBatch(regions, inputs, targets, lengths, torch.tensor([0, 1]))
    term = Grounding(records, tiny_tokenizer, decoder.grid, 0.5)
    with torch.no_grad():
        memory = decoder.prepare(regions)
        found = beam_sentences(decoder, memory, objective.search)  # pyright: ignore[reportArgumentType, reportCallIssue]
        written = plain.read(memory, found)  # pyright: ignore[reportCallIssue]
        expected = term(written, batch)
        assert float(expected) > 0.01
        expected = expected + term(read(decoder, targets, inputs, lengths, memory), batch)
        torch.testing.assert_close(objective(batch) - plain(batch), expected, atol=1e-5, rtol=1e-4)


def test_grounding_needs_boxes(tiny_recipe):
    values = tiny_recipe.to_dict()
    values["train"] |= {"grounding": 1.0}
    with pytest.raises(RecipeError, match=r"train\.grounding=1: needs boxes .*add data\.boxes"):
        preflight(Recipe.from_dict(values))
    values["train"] |= {"grounding": 0.0}
    values["data"] |= {"only": "boxed"}
    with pytest.raises(RecipeError, match=r"data\.only=boxed: needs data\.boxes"):
        preflight(Recipe.from_dict(values))


def test_a_run_learns_from_boxes_on_disk(tiny_data, tiny_recipe, tmp_path, monkeypatch):
    """Entities beside the tiny photos: the run starts, says what was matched, and its loss has the term."""
    from rich.console import Console

    from seesay.training.train import train

    monkeypatch.setattr("seesay.training.train.write_bundle", lambda folder, *rest: folder)
    boxes = tmp_path / "boxes"
    annotation = (
        "<annotation><size><width>9</width><height>9</height></size><object><name>1</name><bndbox>"
        "<xmin>0</xmin><ymin>0</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object></annotation>"
    )
    (boxes / "Sentences").mkdir(parents=True)
    (boxes / "Annotations").mkdir()
    for number in range(12):
        name = f"photo{number:02}"
        sentence = SENTENCES[number % 5].replace("ball", "[/EN#1/other ball]")
        sentence = sentence.replace("grass", "[/EN#1/other grass]")
        (boxes / "Sentences" / f"{name}.txt").write_text(sentence, encoding="utf-8")
        (boxes / "Annotations" / f"{name}.xml").write_text(annotation, encoding="utf-8")
    losses = {}
    for weight in (0.0, 3.0):
        values = tiny_recipe.to_dict() | {"out": str(tmp_path / f"run{weight}")}
        values["data"] |= {"path": [str(tiny_data)], "boxes": [str(boxes)]}
        values["train"] |= {"grounding": weight, "epochs": 1}
        console = Console(file=io.StringIO(), width=200)
        train(Recipe.from_dict(values), console=console)
        assert "12 photos of 12 matched" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        rows = (tmp_path / f"run{weight}" / "metrics.csv").read_text().splitlines()
        losses[weight] = float(dict(zip(rows[0].split(","), rows[1].split(","), strict=True))["loss"])
    assert losses[3.0] > losses[0.0] + 0.5


def test_which_weights_replace_the_word_s_own():
    weights = torch.rand(4, 3, 2, 5).softmax(-1)  # photos, words, heads, regions
    kinds = torch.tensor([UNIFORM, OTHER_PHOTO, OTHER_WORD, UNIFORM])
    other = other_weights(weights, kinds, words=1)
    torch.testing.assert_close(other[0], torch.full((3, 2, 5), 0.2))
    torch.testing.assert_close(other[1], weights[0])
    torch.testing.assert_close(other[2], weights[2].roll(1, dims=0))
    torch.testing.assert_close(other_weights(weights.transpose(1, 2), kinds, words=2), other.transpose(1, 2))
    torch.testing.assert_close(other_weights(weights[:3], kinds, words=1)[0], other[0])  # fewer photos


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (-1.0, -1.0, 0.5 * (0.8 - 0.3)),  # no fall where one is wanted
        (-1.0, -1.2, 0.5 * (0.8 - 0.3 - 0.2)),
        (-1.0, -3.0, 0.0),  # more than is wanted
    ],
)
def test_the_loss_of_reliance_by_hand(own, other, expected):
    """One word: 0.8 of its own attention is in the box and 0.3 of the other map's."""

    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.region_weights = torch.nn.Identity()

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:  # hidden is the log-probability of word 0 of 2
            return torch.cat([hidden, torch.log1p(-hidden.exp())], dim=-1)

    def decoded(logprob: float, mass: float) -> Any:
        attention = torch.tensor([mass, 1 - mass]).view(1, 1, 1, 2)
        return Decoded(torch.full((1, 1, 1, 1), logprob), attention)

    reading = Reading(Fixed(), torch.zeros(1, 1, 1, dtype=torch.long), decoded(own, 0.8), lambda: decoded(other, 0.3))  # pyright: ignore[reportArgumentType]
    zero = torch.zeros(1, dtype=torch.long)
    words = BoxedWords((zero, zero, zero), torch.tensor([[1.0, 0.0]]))
    batch = CaptionBatch(*(torch.empty(0) for _ in range(4)), photos=zero)
    loss = Reliance(0.5)(reading, words, batch)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["additive", "hard", "transformer"])
def test_words_come_to_depend_on_the_maps(kind, tiny_recipe, tiny_tokenizer):
    """The log-probability of a word falls with another photo's weights, much more than without the term."""
    falls = []
    for reliance in (0.0, 1.0):
        torch.manual_seed(2)
        objective, batch, ball = lesson(
            tiny_recipe, tiny_tokenizer, kind, (LEFT, RIGHT, LEFT), grounding=1.0, reliance=reliance
        )
        learn(objective, batch)
        decoder = objective.decoder
        with torch.no_grad():
            memory = decoder.prepare(batch.regions)
            reading = read(decoder, batch.targets, batch.inputs, batch.lengths, memory)
            swap = decoder.region_weights.register_forward_hook(lambda *call: call[-1].roll(1, dims=0))
            replaced = reading.again()
            swap.remove()
            own, other = (decoder.logits(d.hidden).log_softmax(-1) for d in (reading.decoded, replaced))
        falls.append(float((own - other)[:2, 0, ball, batch.targets[0, 0, ball]].mean()))
    assert falls[1] > max(0.5, 2 * falls[0]), falls


def test_it_is_about_grounded_words(tiny_recipe):
    values = tiny_recipe.to_dict()
    values["train"] |= {"reliance": 1.0}
    with pytest.raises(RecipeError, match=r"train\.reliance=1: is about the words that train\.grounding"):
        preflight(Recipe.from_dict(values))


def test_things_apart_by_hand():
    """A man in the left three of four regions with a shirt in one of them, beside grass in the last two."""
    man, shirt, grass = (np.array(c, np.float32) for c in ([1, 1, 0.9, 0], [0, 1, 0, 0], [0, 0, 0.4, 1]))
    named = [man, shirt, grass]
    np.testing.assert_allclose(apart(man, named), [1, 0.2, 0.9 * (1 - 0.8 * 0.4), 0], rtol=1e-6)
    np.testing.assert_allclose(apart(shirt, named), [0, 1, 0, 0])  # all of it is also the man
    np.testing.assert_allclose(apart(grass, named), [0, 0, 0.4 * (1 - 0.8 * 0.9), 1], rtol=1e-6)
    np.testing.assert_allclose(apart(grass / 2, [grass / 2]), [0, 0, 0.4, 1])


def test_a_thing_that_would_keep_no_region_keeps_all():
    small, large = np.array([0.6, 0.3, 0], np.float32), np.array([0.8, 0, 0], np.float32)
    np.testing.assert_allclose(apart(small, [small, large]), [1, 0.5, 0])  # 0.6 * 0.36 would be left
