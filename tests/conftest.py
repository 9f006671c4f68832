"""What tests share: tiny models and data made on the spot, and the real photos where they lie beside the checkout."""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from budget import Budget
from filelock import FileLock
from PIL import Image

import seesay as seesay  # before onnxruntime, whose telemetry it switches off

# Models this small are slower on several threads, much slower where the cores are taken; set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real photos are not beside this checkout")

TINY_ENCODER = "test_efficientnet"  # timm's own for tests: 0.4 M weights
ONE_LAYER = {"name": "test_resnet", "layer": "act1"}  # a convolution with its norm: for graphs of many decoders
SENTENCES = (
    "A red ball lies on the grass .",
    "The dog's ball is on the grass .",
    "A dog runs after a red ball .",
    "Two dogs play with a ball .",
    "A dog jumps over the red fence on the grass .",
)


def without_packages(*names: str) -> str:
    """Code for the beginning of a script, after which these packages count as not installed."""
    return f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run `seesay ARGUMENTS` in this process, in an empty folder."""
    from seesay.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["seesay", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _no_java(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings and evaluations score as if the extra `eval` were missing, but in tests marked `java`."""
    if not request.node.get_closest_marker("java"):
        monkeypatch.setattr("seesay.metrics.official.ptb_tokenise", _without_java)


def _without_java(_: object) -> None:
    from seesay.errors import MissingExtraError

    raise MissingExtraError("Official scoring needs Java, which only tests marked `java` start")


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles that torch reads back but that cannot caption: exporting their graphs takes seconds."""
    from safetensors.torch import save_file

    def weights_only(model, folder: Path) -> None:
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, folder / "weights.safetensors")
        for name in ("encoder.onnx", "decoder.onnx"):
            (folder / name).touch()

    monkeypatch.setattr("seesay.export.write.write_graphs", weights_only)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all workers of pytest-xdist share, filled by whichever needs it first.

    Args:
        factory: pytest's own.
        name: of the folder.
        make: fills an empty folder.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name(f"{name}.unfinished")
            unfinished.mkdir(exist_ok=True)  # of a worker that failed
            make(unfinished)
            unfinished.rename(folder)
    return folder


def write_photo(path: Path, seed: int, size: tuple[int, int] = (67, 53)) -> Path:
    """A photo of noise and a block of colour, different for each seed."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
    pixels[size[1] // 3 :, size[0] // 2 :] += random.integers(60, 170, 3, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Within it a training run saves after this step and is interrupted."""
    from seesay.training.loop import Trainer

    average = Trainer._average

    def killed(self: Trainer) -> None:
        average(self)
        if self.state.step == step:
            self.save()
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_average", killed)
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the Kaggle Flickr8k layout: 12 training and 5 dev photos with the five `SENTENCES` in turns."""
    folder = tmp_path_factory.mktemp("tiny_data")
    (folder / "Images").mkdir()
    rows, names = ["image,caption"], [f"photo{i:02}.jpg" for i in range(17)]
    for i, name in enumerate(names):
        write_photo(folder / "Images" / name, i)
        rows += [f"{name},{SENTENCES[(i + k) % 5]}" for k in range(2 + i % 3)]
    (folder / "captions.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "train.txt").write_text("\n".join(names[:12]) + "\n", encoding="utf-8")
    (folder / "dev.txt").write_text("\n".join(names[12:]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_recipe():
    """A recipe for `tiny_data` that trains in seconds."""
    from seesay.config import Recipe

    return Recipe.from_dict(
        {
            "name": "tiny",
            "seed": 3,
            "images": {"size": 96},
            "encoder": {"name": TINY_ENCODER, "weights": "none"},
            "tokens": {"min_count": 1, "max_words": 12},
            "embedding": {"size": 11},
            "attention": {"size": 7},
            "decoder": {"size": 13},
            "train": {"epochs": 3, "batch_size": 5, "precision": "32-true"},
        }
    )


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """The vocabulary of `SENTENCES`."""
    from seesay.data.tokens import CaptionTokenizer

    return CaptionTokenizer.build(SENTENCES, min_count=1)


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory: pytest.TempPathFactory, tiny_recipe, tiny_tokenizer, tiny_photos):
    """A torch model in eval mode that learnt `tiny_photos` by heart: sentences and maps differ between photos."""
    import torch

    from seesay.models.build import build_decoder
    from seesay.models.captioner import Captioner
    from seesay.models.encoder_weights import load_encoder

    torch.manual_seed(5)
    encoder = load_encoder(TINY_ENCODER, "none", 96)
    captioner = Captioner(encoder, build_decoder(tiny_recipe, encoder, len(tiny_tokenizer))).eval()

    def learn(folder: Path) -> None:
        _settle_norms(encoder)
        sentences = [tiny_tokenizer.encode(SENTENCES[i % 5]) for i in range(len(tiny_photos))]
        with torch.no_grad():
            images = torch.from_numpy(np.stack([encoder.transform(photo) for photo in tiny_photos]))
            regions = encoder(images).regions
        _learn(captioner.decoder, regions, sentences)
        torch.save(captioner.state_dict(), folder / "weights.pt")

    learnt = made_once(tmp_path_factory, "tiny_captioner", learn) / "weights.pt"
    captioner.load_state_dict(torch.load(learnt, weights_only=True))
    return captioner


def _settle_norms(encoder) -> None:
    """Batch norms as after training: their statistics those of some photos, their weights neither 1 nor 0."""
    import torch

    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0
    with torch.no_grad():
        encoder.train()(torch.rand(8, 3, 96, 96) * torch.rand(8, 3, 1, 1) * 2 - 1)
    for norm in norms:
        norm.momentum = 0.1
    encoder.eval()


def _learn(decoder, regions, sentences: list[list[int]]) -> None:
    """Teach a decoder one sentence for each photo, and to look at another region with each word."""
    import torch

    from seesay.data.feature_cache import PhotoFeatures
    from seesay.training.inputs.batches import CaptionBatches
    from seesay.training.objectives.cross_entropy import CrossEntropy

    photos, count = np.arange(len(regions)), regions.shape[1]
    features = PhotoFeatures(regions.numpy(), photos, (1, count), ())
    batch = CaptionBatches(features, [[ids] for ids in sentences], len(photos), 12, seed=0).batch(photos)
    aim = (torch.arange(len(photos))[:, None] + torch.arange(batch.targets.shape[2])) % count
    objective = CrossEntropy(decoder)
    with torch.no_grad():  # values that lie around zero and tell regions apart; they are not trained
        flat = regions.flatten(0, 1)
        decoder.regions.value.weight.div_((flat @ decoder.regions.value.weight.T).std(0)[:, None])
        decoder.regions.value.bias.copy_(-decoder.regions.value.weight @ flat.mean(0))
    trained = [parameter for name, parameter in decoder.named_parameters() if not name.startswith("regions.value.")]
    optimiser = torch.optim.Adam(trained, lr=0.02)
    for _ in range(60):
        attention = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions)).attention[:, 0]
        aimed = attention.gather(-1, aim[..., None])[..., 0][batch.targets[:, 0] > 0]
        (objective(batch) - aimed.clamp_min(1e-6).log().mean()).backward()
        optimiser.step()
        decoder.zero_grad()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_recipe, tiny_captioner, tiny_tokenizer) -> Path:
    """`tiny_captioner` as a bundle; copy it before you damage it."""
    from seesay.export.write import write_bundle
    from seesay.search import BeamOptions

    def write(folder: Path) -> None:
        search = BeamOptions(beam=3, max_words=12)
        write_bundle(folder / "tiny", tiny_recipe, tiny_captioner, tiny_tokenizer, search)

    return made_once(tmp_path_factory, "bundles", write) / "tiny"


def references_of(caption: str, right: bool) -> tuple[str, ...]:
    """References that agree with each other, and with the caption only if it is right."""
    text = caption if right else next(text[:-2].lower() for text in SENTENCES if caption not in text.lower())
    return text, f"{text} near a tree", f"{text} and some sand"


@pytest.fixture(scope="session")
def calibrated_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """`tiny_bundle` with a confidence head: people accept its captions of every other photo, and all are photos."""
    import shutil
    from dataclasses import replace

    from seesay.calibration import calibrate
    from seesay.calibration.calibrate import with_confidence
    from seesay.data.records import CaptionRecord

    def write(folder: Path) -> None:
        model = seesay.load(shutil.copytree(tiny_bundle, folder / "calibrated"), threads=1)
        photos = [write_photo(folder / f"{i}.png", i) for i in range(24)]
        records = []
        for i, photo in enumerate(photos):
            captions = references_of(str(model.caption(photo)), right=i % 2 == 0)
            records.append(CaptionRecord(f"{i}", photo, captions, "train" if i < 16 else "dev"))
        blank = folder / "blank.png"
        Image.new("L", (60, 60)).save(blank)
        head = calibrate(model, {"tiny": (records[:16], records[16:])}, {"blank": [blank]})
        with_confidence(model.bundle, replace(head, threshold=-50.0))

    return made_once(tmp_path_factory, "calibrated_bundles", write) / "calibrated"


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven photos of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    return [write_photo(folder / f"p{i}.png", 100 + i, (41 + 10 * i, 83 - 5 * i)) for i in range(7)]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Budget())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: one that begins last keeps a single core busy while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    if "onnx" in sys.modules:
        _translate_once()
    # what is imported by now stays: collections need not look at these million objects again
    gc.collect()
    gc.freeze()


def _translate_once() -> None:
    """torch parses a thousand translations of its operators to ONNX for each export, a fifth of what that takes."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        made = ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):  # another version of torch
        return
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(made))  # pyright: ignore[reportAttributeAccessIssue]
