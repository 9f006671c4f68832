"""The five recipes of docs/architecture.md: each thing is added here as the document says, and used by public calls."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ONE_LAYER, SENTENCES, write_photo

import seesay
from seesay.data.readers import LAYOUTS, read_dataset
from seesay.data.readers.source import CaptionFile, Layout, Row, Source
from seesay.runtime import Engine
from seesay.search import SampleOptions
from seesay.search.decode import Beams, decode
from seesay.search.sampling import Sampler
from seesay.search.step import FORBIDDEN, Array

# An attention score and a decoder: a class, a name in a dictionary, and a word in `config/sections.py`.


def cosine_attention() -> type:
    import torch

    from seesay.models.attention import DotAttention

    class Cosine(DotAttention):
        """e_i = 10 cos(W_h h + b, W_a a_i), with one head."""

        def forward(self, query, keys):
            query, keys = (torch.nn.functional.normalize(part, dim=-1) for part in (self.query(query), keys))
            return 10 * (query @ keys.mT).unsqueeze(2)  # (B, K, 1, P)

    return Cosine


def look_once_more() -> type:
    from seesay.models.show_attend_tell import ShowAttendTell

    class LookOnceMore(ShowAttendTell):
        """The same cell, run twice a word."""

        def recurrence(self, words_in, state, memory, sampled=None):
            state = super().recurrence(words_in, state, memory, sampled).state
            return super().recurrence(words_in, state, memory, sampled)

    return LookOnceMore


@pytest.fixture
def extended_recipe(tiny_recipe, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recipe with both of them."""
    from seesay.config.sections import AttentionSection, DecoderSection
    from seesay.models.attention import SCORES
    from seesay.models.build import DESIGNS

    monkeypatch.setitem(SCORES, "cosine", cosine_attention())
    monkeypatch.setitem(DESIGNS, "once_more", look_once_more())
    monkeypatch.setitem(AttentionSection.__annotations__, "score", f"Literal{list(SCORES)} | None")
    monkeypatch.setitem(DecoderSection.__annotations__, "design", f"Literal{list(DESIGNS)} | None")
    return tiny_recipe.from_dict(
        {
            **tiny_recipe.to_dict(),
            "out": str(tmp_path / "run"),
            "data": {"path": str(tiny_data)},
            "encoder": {**ONE_LAYER, "weights": "none"},
            "attention": {"score": "cosine", "size": 7},
            "decoder": {"design": "once_more", "size": 13},
            "train": {"max_steps": 1, "batch_size": 5, "precision": "32-true"},
        }
    )


def test_attention_score_and_decoder(extended_recipe) -> None:
    import torch

    from seesay.models.build import build_decoder, build_encoder

    encoder = build_encoder(extended_recipe)
    decoder = build_decoder(extended_recipe, encoder, vocab_size=23).eval()
    memory = decoder.prepare(torch.randn(2, encoder.grid[0] * encoder.grid[1], encoder.depth))
    step = decoder.step(torch.ones(2, 3, dtype=torch.long), decoder.start(memory, 3), memory)
    assert step.logprobs.shape == (2, 3, 23)
    assert step.attention.sum(-1).allclose(torch.ones(2, 3))


@pytest.mark.slow
def test_attention_score_and_decoder_from_training_to_captions(extended_recipe, tiny_data: Path) -> None:
    from seesay.training.train import train

    model = seesay.load(train(extended_recipe))
    caption = model.score(tiny_data / "Images" / "photo00.jpg", SENTENCES[0])
    assert len(caption.words) == 7 and caption.words[0].attention.sum() == pytest.approx(1, abs=1e-4)
    made = model.bundle.recipe
    assert (made["attention"]["score"], made["decoder"]["design"]) == ("cosine", "once_more")


# A data layout: a module with a `LAYOUT`, and its name in `LAYOUTS`.


def find_arrows(folder: Path, _: object) -> list[Path]:
    return sorted(folder.glob("*.arrows"))


def read_arrows(source: Source) -> list[CaptionFile]:
    def rows(file: Path) -> Iterator[Row]:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            photo, _, caption = line.partition(" -> ")
            yield Row(number, photo, caption, file.stem)

    return [CaptionFile(file, rows(file), [source.folder]) for file in source.files]


def test_data_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]) -> None:
    for number, split in enumerate(("train", "dev")):
        write_photo(tmp_path / f"{split}.png", number)
        (tmp_path / f"{split}.arrows").write_text(f"{split}.png -> {SENTENCES[number]}\n")
    monkeypatch.setitem(LAYOUTS, "arrows", Layout("arrows", "*.arrows", find_arrows, read_arrows))
    data = read_dataset(tmp_path)
    assert data.layout == "arrows" and data.counts() == {"train": 1, "dev": 1}
    assert data.split("dev")[0].captions == (SENTENCES[1],)
    checked = cli("data", "check", tmp_path)
    assert checked.code == 0 and "layout: arrows" in checked.out


# A decoding choice, top-k sampling: an option and a choice in `search/sampling.py`.


@dataclass(frozen=True)
class TopKOptions(SampleOptions):
    """Draws from the `top_k` likeliest tokens."""

    top_k: int = 10


class TopKSampler(Sampler):
    options: TopKOptions

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        kth = -beams.xp.sort(-allowed, axis=-1)[..., self.options.top_k - 1 : self.options.top_k]
        likeliest = beams.xp.where(allowed >= kth, allowed, beams.xp.full_like(allowed, FORBIDDEN))
        return super().choose(beams, likeliest)


class TopKEngine(Engine):
    def sample(self, photos: Sequence[Any], options: SampleOptions, keys: Sequence[int]) -> list[list[Any]]:
        from seesay.runtime.engine import Noise

        assert isinstance(options, TopKOptions)
        sampler = TopKSampler(options, Noise(options.seed, keys, options.n))
        return decode(self.model(photos), sampler, options)


def test_decoding_choice(tiny_bundle: Path, tiny_photos: list[Path]) -> None:
    model = seesay.load(tiny_bundle).with_engines(lambda engine: TopKEngine(**vars(engine)))

    def drawn(top_k: int) -> list[list[str]]:
        options = TopKOptions(n=2, temperature=5, top_p=1, top_k=top_k)
        results = model.caption_many(tiny_photos, sample=options)
        return [[str(caption) for caption in several] for several in results if isinstance(several, list)]

    greedy = [str(caption) for caption in model.caption_many(tiny_photos, beam=1)]
    assert drawn(top_k=1) == [[caption, caption] for caption in greedy]
    assert drawn(top_k=9) != drawn(top_k=1)


# A writer: a class, and its name in `WRITERS`, which makes it an option of `seesay caption`.

TITLES = """
    import seesay.outputs
    from seesay.caption import Failure


    class Titles(seesay.outputs.Writer):
        about = "Write the captions as titles here."

        def __init__(self, path, job=None):
            super().__init__(path, job)
            self.titles = []

        def write(self, photo, result):
            if not isinstance(result, Failure):
                self.titles.append(result.text.title())

        def close(self):
            self.path.write_text("\\n".join(self.titles))


    seesay.outputs.WRITERS["titles"] = Titles

    from seesay.cli import main

    main()
"""


def test_writer(tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    program = [sys.executable, "-c", textwrap.dedent(TITLES), "caption", *tiny_photos[:2], "--model", tiny_bundle]
    done = subprocess.run([*map(str, program), "--titles", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    captions = [str(caption).title() for caption in map(seesay.load(tiny_bundle).caption, tiny_photos[:2])]
    assert (tmp_path / "out").read_text().splitlines() == captions
