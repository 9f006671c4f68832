"""The runtime: any kind of photo, alone or in batches, from any thread, gives the caption that torch gives."""

from __future__ import annotations

import copy
import io
import itertools
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from conftest import SENTENCES
from PIL import Image

import seesay
from seesay.bundle.format import Bundle, open_bundle
from seesay.bundle.names import find_bundle
from seesay.caption import Caption, Failure
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError, PhotoError
from seesay.runtime import CaptionModel
from seesay.runtime.device import cores
from seesay.runtime.engine import Engine
from seesay.search import BeamOptions, Hypothesis


@pytest.fixture(scope="module")
def model(tiny_bundle) -> CaptionModel:
    return CaptionModel.load(tiny_bundle, threads=1)


def assert_same(one: Caption | Failure, other: Caption | Failure, atol: float = 0.0) -> None:
    assert isinstance(one, Caption)
    assert isinstance(other, Caption)
    assert one.text == other.text
    assert one.score == pytest.approx(other.score, abs=atol * 10)
    assert [word.text for word in one.words] == [word.text for word in other.words]
    for ours, theirs in zip(one.words, other.words, strict=True):
        np.testing.assert_allclose(ours.attention, theirs.attention, atol=atol)


def test_photos_have_different_captions_and_maps(model, tiny_photos):
    """What the other tests rest on: with one caption for all photos they would prove nothing."""
    captions = [model.caption(photo) for photo in tiny_photos]
    assert len({caption.text for caption in captions}) >= 3
    for one, other in itertools.pairwise(captions):
        assert np.abs(one.words[0].attention - other.words[0].attention).sum() > 1e-3
    for caption in captions:
        assert len(caption.words) > 2
        changes = [np.abs(a.attention - b.attention).sum() for a, b in itertools.pairwise(caption.words)]
        assert max(changes) > 0.02


@pytest.mark.parametrize("kind", ["str", "bytes", "pil", "array"])
def test_every_kind_of_photo(model, tiny_photos, kind):
    photo = tiny_photos[2]
    given = {
        "str": lambda: str(photo),
        "bytes": photo.read_bytes,
        "pil": lambda: Image.open(photo),
        "array": lambda: np.asarray(Image.open(photo)),
    }[kind]()
    found = model.caption(given)
    assert_same(found, model.caption(photo))
    assert found.image == (str(photo) if kind == "str" else None)


@pytest.mark.parametrize("beam", [1, 3, 7])
def test_torch_and_onnx_give_the_same_captions(tiny_bundle, tiny_photos, beam):
    """The bundle's torch model and its graphs, words, costs and maps."""
    import torch

    from seesay.export.load import load_captioner
    from seesay.training.generate import generate

    model = CaptionModel.load(tiny_bundle, precision="float32")
    bundle = model.bundle
    captioner = load_captioner(bundle)
    images = torch.from_numpy(np.stack([bundle.transform(photo) for photo in tiny_photos]))
    with torch.inference_mode():
        memory = captioner.prepare(images)
    found = generate(captioner.decoder, memory, BeamOptions(beam=beam, max_words=12))
    for photo, hypotheses in zip(tiny_photos, found, strict=True):
        caption = model.caption(photo, beam=beam)
        assert caption.text == bundle.tokenizer.decode(hypotheses[0].tokens)
        assert caption.score == pytest.approx(hypotheses[0].score, abs=1e-3)
        total = sum(word.attention for word in caption.words)
        if not any("'" in word.text for word in caption.words):  # a clitic's map is averaged with its word's
            np.testing.assert_allclose(np.ravel(total), hypotheses[0].attention.sum(0), atol=1e-4)


def test_words_explain_the_caption(model, tiny_photos):
    for photo in tiny_photos:
        caption = model.caption(photo)
        assert " ".join(word.text for word in caption.words) == caption.text
        for word in caption.words:
            assert word.attention.shape == model.bundle.grid == (3, 3)
            assert word.attention.dtype == np.float32
            assert word.attention.min() >= 0
            assert word.attention.sum() == pytest.approx(1, abs=1e-5)
            assert word.logprob <= 0


def test_score_is_the_words_and_the_end(model, tiny_photos):
    for photo in tiny_photos:
        encoded = model.engine.encode(model.bundle.transform(photo))
        [[best, *_]] = model.engine.search([encoded], model.bundle.search)
        caption = model.caption(photo)
        assert len(best.logprobs) == len(best.tokens) + 1
        assert caption.score == pytest.approx(sum(word.logprob for word in caption.words) + best.logprobs[-1])


def test_a_clitic_belongs_to_its_word(model):
    """Two tokens, one word: costs add up, maps are averaged, so the map still sums to one."""
    from seesay.search import Hypothesis

    tokens = tuple(model.bundle.tokenizer.encode("the dog's ball"))
    assert len(tokens) == 4
    maps = np.eye(9, dtype=np.float32)[:4]
    caption = model.to_caption(Hypothesis(tokens, (-1.0, -2.0, -4.0, -8.0, -16.0), maps, -31.0))
    assert [(word.text, word.logprob) for word in caption.words] == [("the", -1), ("dog's", -6), ("ball", -8)]
    assert caption.words[1].attention.ravel().tolist() == [0, 0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert (caption.text, caption.image, caption.confidence) == ("the dog's ball", None, None)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_batches_equal_single_photos(tiny_bundle, model, tiny_photos, batch_size, threads):
    found = list(CaptionModel.load(tiny_bundle, threads).caption_many(tiny_photos, batch_size=batch_size))
    assert len(found) == len(tiny_photos)
    for photo, caption in zip(tiny_photos, found, strict=True):
        assert caption.image == str(photo)
        assert_same(caption, model.caption(photo), atol=1e-5)


def test_failures_stand_in_their_places(model, tiny_photos, tmp_path):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no photo")
    mixed = [tmp_path / "gone.png", tiny_photos[0], damaged, b"nothing", tiny_photos[1], tmp_path]
    for batch_size in (1, 2, 6):
        found = list(model.caption_many(mixed, batch_size=batch_size))
        assert [type(result) for result in found] == [Failure, Caption, Failure, Failure, Caption, Failure]
        assert [result.image for result in found] == [None if isinstance(p, bytes) else str(p) for p in mixed]
        assert_same(found[4], model.caption(tiny_photos[1]), atol=1e-5)
        assert isinstance(found[0], Failure)
        assert found[0].error == f"{tmp_path / 'gone.png'}: no such file"
    with pytest.raises(PhotoError, match="no such file"):
        model.caption(tmp_path / "gone.png")


def test_nothing_in_nothing_out(model):
    assert list(model.caption_many([])) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_many_is_lazy_and_keeps_order(tiny_bundle, tiny_photos, threads):
    results: Any
    taken = 0

    def endless():
        nonlocal taken
        for photo in itertools.cycle(tiny_photos):
            taken += 1
            yield photo

    results = CaptionModel.load(tiny_bundle, threads).caption_many(endless(), batch_size=2)
    assert taken == 0
    for given, photo in enumerate(itertools.islice(itertools.cycle(tiny_photos), 40)):
        assert next(results).image == str(photo)
        assert taken - given <= (threads + 2) * 2
    before = threading.active_count()
    results.close()
    assert threading.active_count() <= before - 1, "the threads that caption batches are left behind"


def test_wrong_options_are_said_at_once(model, tiny_photos):
    """Not when the first caption is asked for."""
    with pytest.raises(ValueError, match=r"^batch_size=0: expected at least 1$"):
        model.caption_many(tiny_photos, batch_size=0)
    with pytest.raises(ValueError, match=r"^beam=0: expected at least 1$"):
        model.caption_many(tiny_photos, beam=0)
    with pytest.raises(ValueError, match=r"^beam=-2: expected at least 1$"):
        model.caption(tiny_photos[0], beam=-2)


@pytest.mark.parametrize("value", [True, False, 2.0, "3", -1, 0, np.float32(2)])
def test_counts_are_whole_numbers(model, tiny_bundle, tiny_photos, value):
    def said(name: str) -> str:
        least = "expected at least 1" if type(value) is int else "expected a whole number of at least 1"
        return rf"^{name}={re.escape(repr(value))}: {least}$"

    with pytest.raises(ValueError, match=said("threads")):
        seesay.load(tiny_bundle, threads=value)
    with pytest.raises(ValueError, match=said("beam")):
        model.caption(tiny_photos[0], beam=value)
    with pytest.raises(ValueError, match=said("beam")):
        model.caption_many(tiny_photos, beam=value)
    with pytest.raises(ValueError, match=said("batch_size")):
        model.caption_many(tiny_photos, batch_size=value)


def test_counts_of_numpy(model, tiny_bundle, tiny_photos):
    two: Any = np.int64(2)
    assert seesay.load(tiny_bundle, threads=two).threads == 2
    assert_same(model.caption(tiny_photos[0], beam=two), model.caption(tiny_photos[0], beam=2))


@pytest.mark.parametrize("kind", ["str", "path", "bytes", "file", "pil", "grey", "colour", "channels first", "none"])
def test_one_photo_is_no_collection_of_photos(model, tiny_photos, kind):
    """Its characters, bytes, lines or rows are none either."""
    photo = tiny_photos[0]
    given = {
        "str": lambda: str(photo),
        "path": lambda: photo,
        "bytes": photo.read_bytes,
        "file": lambda: io.BytesIO(photo.read_bytes()),
        "pil": lambda: Image.new("RGB", (40, 30)),
        "grey": lambda: np.zeros((40, 30), np.uint8),
        "colour": lambda: np.zeros((40, 30, 3), np.uint8),
        "channels first": lambda: np.zeros((3, 40, 30), np.uint8),
        "none": lambda: None,
    }[kind]()
    with pytest.raises(TypeError, match=r"^images: expected several photos, such as a list, got "):
        model.caption_many(given)


def test_a_batch_as_one_array(model):
    batch = np.random.default_rng(3).integers(0, 256, (3, 40, 30, 3), dtype=np.uint8)
    for found, photo in zip(model.caption_many(batch), batch, strict=True):
        assert_same(found, model.caption(photo), atol=1e-5)


def test_a_file_object_names_its_photo(model, tiny_photos, tmp_path):
    with tiny_photos[0].open("rb") as file:
        assert model.caption(file).image == str(tiny_photos[0])
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    with (tmp_path / "a.jpg").open("rb") as file:
        [failure] = model.caption_many([file])
    assert failure.error.startswith(f"{tmp_path / 'a.jpg'}: not a picture")


def test_a_warning_about_a_photo_is_part_of_its_caption(model, tiny_photos, tmp_path):
    with Image.open(tiny_photos[3]) as image:
        image.save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    single, first = model.caption(whole[:-2]), model.caption(whole)
    [many, other] = model.caption_many([whole[:-2], whole])
    for cut, sound in ((single, first), (many, other)):
        assert (
            cut.warning
            == cut.to_dict()["warning"]
            == "cut short: the end of the file is missing, but nothing of " + ("the picture")
        )
        assert sound.warning is None and "warning" not in sound.to_dict()
    assert_same(single, first, atol=1e-3)


def test_nothing_that_one_photo_does_costs_another_its_caption(model, tiny_photos, monkeypatch):
    """Running out of memory while it is resized, too."""
    resize = Image.Image.resize

    def sometimes(image, size, *rest, **more):
        if image.width == 77:
            raise MemoryError
        return resize(image, size, *rest, **more)

    class Evil:
        def read(self, size=-1):
            raise ZeroDivisionError("evil")

    monkeypatch.setattr(Image.Image, "resize", sometimes)
    photos = [tiny_photos[0], np.zeros((40, 77, 3), np.uint8), Evil(), tiny_photos[1]]
    for batch_size in (1, 4):
        found = list(model.caption_many(photos, batch_size=batch_size))
        assert [type(result) for result in found] == [Caption, Failure, Failure, Caption]
        assert [result.reason for result in found[1:3]] == [
            "too large for this machine's memory",
            "the file given: damaged, cannot be decoded (evil)",
        ]


def test_a_model_can_be_copied_and_sent_to_other_processes(tiny_bundle, tiny_photos, monkeypatch):
    monkeypatch.chdir(tiny_bundle.parent)
    model = seesay.load(tiny_bundle.name, precision="float32", threads=1)
    expected = model.caption(tiny_photos[0])
    sent = pickle.dumps(model)
    assert len(sent) < 1000, "where the bundle lies, no weights"
    monkeypatch.chdir(tiny_photos[0].parent)
    for copied in (pickle.loads(sent), copy.deepcopy(model), copy.copy(model)):
        assert copied is not model
        assert (copied.threads, copied.precision) == (1, "float32")
        assert_same(copied.caption(tiny_photos[0]), expected)


def test_captions_are_shown_in_one_line(model, tiny_photos):
    caption = model.caption(tiny_photos[0])
    assert repr(caption) == (
        f"Caption({caption.text!r}, score={caption.score:.4g}, {len(caption.words)} words, image={caption.image!r})"
    )
    word = caption.words[0]
    assert repr(word) == f"Word({word.text!r}, logprob={word.logprob:.4g}, attention of 3 x 3)"
    assert "\n" not in repr(Caption("a\nb", -1.0, (word,), "x\n.jpg", "cut short"))


def test_beam_is_the_bundles_unless_given(model, tiny_photos, monkeypatch):
    seen = []
    search = Engine.search

    def spy(self, photos, options):
        seen.append(options)
        return search(self, photos, options)

    monkeypatch.setattr(Engine, "search", spy)
    model.caption(tiny_photos[0])
    model.caption(tiny_photos[0], beam=1)
    list(model.caption_many(tiny_photos[:2], beam=5))
    assert seen == [BeamOptions(beam=beam, max_words=12) for beam in (3, 1, 5)]


def test_threads_share_a_model(model, tiny_photos):
    expected = [model.caption(photo) for photo in tiny_photos]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for ours, theirs in zip(pool.map(model.caption, tiny_photos), expected, strict=True):
                assert_same(ours, theirs)
        runs = [pool.submit(lambda: list(model.caption_many(tiny_photos, batch_size=3))) for _ in range(4)]
        for run in runs:
            for ours, theirs in zip(run.result(), expected, strict=True):
                assert_same(ours, theirs, atol=1e-5)


def in_a_process_of_its_own(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_captions_too(tiny_bundle, tiny_photos):
    """A fork has none of the threads that its parent has."""
    code = """
import os, signal, sys
from seesay.runtime import CaptionModel
model = CaptionModel.load(sys.argv[1], threads=2)
said = model.caption(sys.argv[2]).text
child = os.fork()
if not child:
    signal.alarm(30)  # it would wait for ever
    os._exit(model.caption(sys.argv[2]).text != said)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_a_process_of_its_own(code, tiny_bundle, tiny_photos[0]).strip() == "0"


def test_a_thread_captions_when_the_program_has_ended(tiny_bundle, tiny_photos, model):
    """New threads cannot be started then."""
    code = """
import sys, threading
from seesay.runtime import CaptionModel
model = CaptionModel.load(sys.argv[1], threads=2)
def work():
    threading.main_thread().join()
    print(model.caption(sys.argv[2]).text)
threading.Thread(target=work).start()
"""
    assert in_a_process_of_its_own(code, tiny_bundle, tiny_photos[0]).strip() == model.caption(tiny_photos[0]).text


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", 5), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 5), ("?", 5)]
)
def test_a_container_has_no_more_cores_than_its_share(text, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    limit = tmp_path / "cpu.max"
    assert cores(limit) == 5
    limit.write_text(text + "\n")
    assert cores(limit) == expected


def test_what_is_no_photo_costs_only_itself(model, tiny_photos):
    first, failure, last = model.caption_many([tiny_photos[0], None, tiny_photos[1]])
    expected = "a NoneType: expected a path, the bytes of a file, a file object, a PIL image, an array or a tensor"
    assert failure == Failure(None, expected)
    assert_same(first, model.caption(tiny_photos[0]), atol=1e-5)
    assert_same(last, model.caption(tiny_photos[1]), atol=1e-5)


def test_load_gives_a_model(tiny_bundle, tiny_photos, model):
    for given in (tiny_bundle, str(tiny_bundle)):
        assert_same(seesay.load(given).caption(tiny_photos[3]), model.caption(tiny_photos[3]), atol=1e-5)


def test_names_of_packaged_models(monkeypatch, tmp_path, tiny_bundle):
    packaged = {"large": tmp_path / "large", "small": tiny_bundle}
    monkeypatch.setattr("seesay.bundle.names.packaged_models", lambda: packaged)
    assert find_bundle(None) == tmp_path / "large"
    assert find_bundle("small") == tiny_bundle
    assert find_bundle(tmp_path) == tmp_path
    with pytest.raises(BundleError) as caught:
        seesay.load("smal")
    assert str(caught.value) == (
        "model smal: no such folder, nor a packaged model (large, small). Did you mean 'small'?"
    )


def test_no_packaged_model(monkeypatch):
    monkeypatch.setattr("seesay.bundle.names.packaged_models", dict)
    with pytest.raises(BundleError, match=r"^no model is packaged with this installation: name a bundle's folder$"):
        seesay.load()
    with pytest.raises(BundleError, match=r"^model big: no such folder, nor a packaged model \(none is packaged\)\.$"):
        seesay.load("big")


def test_sessions_of_one_thread_are_made_only_for_a_second_batch(tiny_bundle, tiny_photos, monkeypatch):
    """One photo waits for the graphs to load once."""
    made = []
    create = Engine.open

    def spy(folder, threads, precision, device):
        made.append((threads, precision))
        return create(folder, threads, precision, device)

    monkeypatch.setattr(Engine, "open", spy)
    model = CaptionModel.load(tiny_bundle, threads=2, precision="float32")
    model.caption(tiny_photos[0])
    list(model.caption_many(tiny_photos[:3], batch_size=3))
    assert made == [(2, "float32")]
    list(model.caption_many(tiny_photos[:4], batch_size=3))
    list(model.caption_many(tiny_photos[:4], batch_size=1))
    assert made == [(2, "float32"), (1, "float32")]


@pytest.mark.parametrize(
    ("graph", "precision"), [("encoder.onnx", "auto"), ("decoder.onnx", "float32"), ("decoder.int8.onnx", "int8")]
)
def test_a_graph_that_cannot_run_is_a_bundle_error(tiny_bundle, tmp_path, graph, precision):
    from seesay.bundle.format import write_manifest

    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    (copy / graph).write_bytes(b"no graph")
    write_manifest(copy, (3, 3))
    with pytest.raises(BundleError, match=rf"{re.escape(str(copy))}: {re.escape(graph)} cannot be run"):
        seesay.load(copy, precision)


@pytest.mark.parametrize(
    ("machine", "has_int8", "runs", "expected"),
    [
        ("x86_64", True, True, "int8"),
        ("AMD64", True, True, "int8"),
        ("arm64", True, True, "float32"),  # nobody measured it there
        ("x86_64", False, True, "float32"),  # an older bundle
        ("x86_64", True, False, "float32"),  # an older ONNX Runtime
    ],
)
def test_the_precision_is_chosen_for_the_machine(
    tiny_bundle, tmp_path, tiny_photos, monkeypatch, machine, has_int8, runs, expected
):
    from seesay.bundle.format import write_manifest

    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    int8 = copy / "decoder.int8.onnx"
    if not runs:
        int8.write_bytes(b"of a kind unknown to this runtime")
    if not has_int8:
        int8.unlink()
    write_manifest(copy, (3, 3))
    monkeypatch.setattr("platform.machine", lambda: machine)
    model = seesay.load(copy)
    assert model.precision == expected
    told = CaptionModel.load(tiny_bundle, precision=expected).caption(tiny_photos[0])
    assert_same(model.caption(tiny_photos[0]), told)
    if not has_int8:
        with pytest.raises(BundleError, match=r"has no decoder\.int8\.onnx, an earlier seesay wrote it; use float32"):
            seesay.load(copy, "int8")


@pytest.mark.parametrize(("machine", "expected"), [("x86_64", "int8"), ("arm64", "float32")])
def test_the_encoder_is_in_8_bits_where_the_decoder_is(machine, expected, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    model = seesay.load()
    assert {model.encoder_precision, model.precision} == {expected}
    assert model.batch_engine.encoder_precision == model.encoder_precision
    assert seesay.load(precision="int8").precisions == "encoder in int8, decoder in int8"
    assert seesay.load(precision="float32").precisions == "encoder in float32, decoder in float32"


def test_an_encoder_in_8_bits_that_cannot_run(tmp_path, monkeypatch):
    from seesay.assets import packaged_models
    from seesay.bundle.format import open_bundle, write_manifest

    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    copy = Path(shutil.copytree(next(iter(packaged_models().values())), tmp_path / "copy"))
    grid = open_bundle(copy).grid
    (copy / "encoder.int8.onnx").write_bytes(b"of a kind unknown to this runtime")
    write_manifest(copy, grid)
    assert seesay.load(copy).encoder_precision == "float32"
    with pytest.raises(BundleError, match=r"encoder\.int8\.onnx cannot be run"):
        seesay.load(copy, "int8")


def test_a_precision_that_does_not_exist(tiny_bundle):
    with pytest.raises(ValueError, match="precision=int4: expected auto, int8 or float32"):
        CaptionModel.load(tiny_bundle, precision="int4")  # pyright: ignore[reportArgumentType]


def test_captioning_needs_neither_torch_nor_the_other_extras(tiny_bundle, tiny_photos):
    code = f"""
import sys
class NotInstalled:
    def find_spec(name, path, target=None):
        if name in ("torch", "timm", "lightning", "onnx", "pycocoevalcap", "matplotlib"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotInstalled)
import seesay
model = seesay.load({str(tiny_bundle)!r})
print(model.caption({str(tiny_photos[0])!r}).text)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == seesay.load(tiny_bundle).caption(tiny_photos[0]).text


def test_opening_is_quick(tiny_bundle):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        CaptionModel(open_bundle(tiny_bundle))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_a_word_of_pieces_has_their_mean_attention_and_their_cost_together():
    tokenizer = CaptionTokenizer.build(SENTENCES, kind="bpe", vocab_size=50)
    model = CaptionModel.__new__(CaptionModel)
    model.bundle = cast(Bundle, SimpleNamespace(tokenizer=tokenizer, grid=(1, 2), attention="soft"))
    model.judge = None
    ids = tokenizer.encode("Fence's dog")
    pieces = len(tokenizer.encode("fence's"))
    assert pieces > 2
    attention = np.stack([np.linspace(0, 1, len(ids)), np.linspace(1, 0, len(ids))], axis=1)
    costs = tuple(-float(i) for i in range(1, len(ids) + 2))
    caption = model.to_caption(Hypothesis(tuple(ids), costs, attention, sum(costs)))
    assert (caption.text, [word.text for word in caption.words]) == ("fence's dog", ["fence's", "dog"])
    assert caption.words[0].logprob == -sum(range(1, pieces + 1))
    np.testing.assert_allclose(caption.words[0].attention, attention[:pieces].mean(axis=0)[None])
