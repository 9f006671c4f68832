"""Bundles: what is written is what is read, on torch and on ONNX Runtime; what is harmed is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from seesay.bundle.card import model_card
from seesay.bundle.copy_graphs import export_graphs
from seesay.bundle.format import FILES, open_bundle, write_json, write_manifest
from seesay.errors import BundleError
from seesay.export import external_data, fold_norms, graphs, onnx_module
from seesay.export.graphs import half_precision, write_graphs
from seesay.export.load import load_captioner
from seesay.export.write import write_bundle
from seesay.models.captioner import Captioner
from seesay.models.embedding import WordEmbedding
from seesay.models.encoder_weights import load_encoder
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.search import BeamOptions

WRITTEN = (*FILES, "decoder.int8.onnx")  # the tiny encoder is none for 8 bits


@pytest.fixture
def copied(tiny_bundle, tmp_path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


@pytest.fixture(scope="module")
def half(tiny_captioner) -> Captioner:
    return half_precision(tiny_captioner)


def images_like(captioner: Captioner, batch: int, seed: int = 0) -> torch.Tensor:
    size = captioner.encoder.transform.size
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


# --- what goes in comes out


def test_files(tiny_bundle):
    assert {path.name for path in tiny_bundle.iterdir()} == {*WRITTEN, "manifest.json"}


def test_round_trip(tiny_bundle, tiny_recipe, tiny_captioner, tiny_tokenizer):
    bundle = open_bundle(tiny_bundle)
    assert bundle.recipe == tiny_recipe.to_dict()
    assert bundle.name == "tiny"
    assert bundle.tokenizer.to_json() == tiny_tokenizer.to_json()
    assert bundle.transform == tiny_captioner.encoder.transform
    assert bundle.search == BeamOptions(beam=3, max_words=12)
    assert bundle.grid == tiny_captioner.encoder.grid
    assert bundle.scores == {}


def test_torch_reads_back_the_very_model(tiny_bundle, half):
    loaded = load_captioner(open_bundle(tiny_bundle))
    ours, theirs = half.state_dict(), loaded.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
        assert tensor.dtype == theirs[name].dtype, name
    assert not any(module.training for module in loaded.modules())


def test_half_precision_leaves_the_model_alone_and_changes_little(tiny_captioner, half):
    before = copy.deepcopy(tiny_captioner.state_dict())
    again = half_precision(tiny_captioner)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_captioner.state_dict().items())
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in half.state_dict().items())
    images = images_like(half, 2)
    with torch.no_grad():
        ours, theirs = half.encoder(images).regions, tiny_captioner.encoder(images).regions
    assert 0 < float((ours - theirs).norm() / theirs.norm()) < 5e-3


def test_scores_are_those_of_the_model_written(tmp_path, monkeypatch, tiny_recipe, tiny_captioner, tiny_tokenizer):
    monkeypatch.setattr("seesay.export.write.write_graphs", _fake_graphs)
    seen = []

    def score(model: Captioner) -> dict:
        seen.append(model)
        return {"dev": {"images": 5, "cider": 0.5, "bleu_4": 0.25, "tokeniser": "ours"}}

    folder = write_bundle(tmp_path / "b", tiny_recipe, tiny_captioner, tiny_tokenizer, BeamOptions(), score)
    weight = seen[0].decoder.regions.value.weight
    assert torch.equal(weight, weight.half().float())
    assert open_bundle(folder).scores == {"dev": {"images": 5, "cider": 0.5, "bleu_4": 0.25, "tokeniser": "ours"}}
    assert re.search(r"\| dev \| 5 \|.* 25\.0 \|.* 50\.0 \|", (folder / "README.md").read_text())


def _fake_graphs(model: Captioner, folder: Path) -> None:
    for name in ("weights.safetensors", "encoder.onnx", "decoder.onnx"):
        (folder / name).write_bytes(b"a stand-in")


# --- the graphs


@pytest.fixture(scope="module")
def sessions(tiny_bundle) -> dict[str, onnxruntime.InferenceSession]:
    return {name: onnxruntime.InferenceSession(tiny_bundle / f"{name}.onnx") for name in ("encoder", "decoder")}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_encoder_graph_equals_torch(sessions, half, batch):
    images = images_like(half, batch, seed=batch)
    with torch.no_grad():
        memory = half.prepare(images)
        expected = [*memory, *half.decoder.start(memory, 1)]
    session = sessions["encoder"]
    assert [output.name for output in session.get_outputs()] == ["memory.values", "memory.keys", "state.h", "state.c"]
    for ours, theirs in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("batch", "beams"), [(1, 1), (1, 4), (3, 1), (5, 2)])
def test_decoder_graph_equals_torch(sessions, half, batch, beams):
    random = torch.Generator().manual_seed(10 * batch + beams)
    with torch.no_grad():
        memory = half.prepare(images_like(half, batch, seed=7))
        start = half.decoder.start(memory, beams)
        state = type(start)(*(part + 0.3 * torch.randn(part.shape, generator=random) for part in start))
        tokens = torch.randint(0, half.decoder.embedding.weight.shape[0], (batch, beams), generator=random)
        step = half.decoder.step(tokens, state, memory)
    feed = {"tokens": tokens.numpy()}
    feed |= {f"state.{name}": part.numpy() for name, part in zip(state._fields, state, strict=True)}
    feed |= {f"memory.{name}": part.numpy() for name, part in zip(memory._fields, memory, strict=True)}
    outputs = ["logprobs", "attention", "next.h", "next.c"]
    found = sessions["decoder"].run(outputs, feed)
    for ours, theirs in zip(found, (step.logprobs, step.attention, *step.state), strict=True):
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=1e-4)


def _initializers(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(path, load_external_data=False).graph.initializer)


def test_weights_are_stored_once(tiny_bundle):
    weights = (tiny_bundle / "weights.safetensors").stat().st_size
    external = 0
    for graph in ("encoder.onnx", "decoder.onnx", "decoder.int8.onnx"):
        for tensor in _initializers(tiny_bundle / graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                entries = {entry.key: entry.value for entry in tensor.external_data}
                assert entries["location"] == "weights.safetensors"
                assert tensor.data_type == onnx.TensorProto.FLOAT16
                assert int(entries["length"]) == 2 * int(np.prod(tensor.dims))
                external += int(entries["length"]) if "int8" not in graph else 0
            elif len(tensor.dims) > 1:
                assert int(np.prod(tensor.dims)) < onnx_module.SMALL, f"{graph}: {tensor.name} lies inside the graph"
    with safe_open(tiny_bundle / "weights.safetensors", "np") as saved:
        kinds = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118
    matrices = sum(array.nbytes for array in kinds.values() if array.ndim > 1)
    assert {array.dtype.name for array in kinds.values() if array.ndim > 1} == {"float16"}
    assert 0.95 * matrices < external < 1.1 * matrices  # the embedding is read by both ends of a step
    assert weights < 2.6 * sum(array.size for array in kinds.values())


def test_a_matrix_with_the_content_of_another_shape_keeps_its_own(tmp_path):
    """Weights are found by content, and zeros look alike."""
    graph = onnx.helper.make_graph([], "g", [], [])
    for name, shape in (("a", (24, 20)), ("b", (20, 24)), ("c", (48, 10))):
        graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    made = onnx.helper.make_model(graph)
    (tmp_path / "w.safetensors").write_bytes(save({"zeros": torch.zeros(12, 40, dtype=torch.float16)}))
    external_data.point_into(made, tmp_path / "w.safetensors")
    shapes = {tensor.name: tuple(tensor.dims) for tensor in made.graph.initializer}
    assert shapes == {"a.half": (24, 20), "b.half": (20, 24), "c.half": (48, 10)}
    assert [node.op_type for node in made.graph.node] == ["Cast"] * 3


def test_graphs_tell_nothing_of_the_machine_that_made_them(tiny_bundle):
    for name in ("encoder.onnx", "decoder.onnx", "decoder.int8.onnx"):
        data = (tiny_bundle / name).read_bytes()
        found = re.findall(rb"[\w./-]*(?:site-packages|seesay/|\.py\b|torch\.nn|/home|/work)[\w./-]*", data)
        assert found == [], name
        model = onnx.load(tiny_bundle / name, load_external_data=False)
        assert not model.metadata_props
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert not model.functions
        if "int8" not in name:  # has a node of ONNX Runtime's own
            onnx.checker.check_model(str(tiny_bundle / name))


def test_export_is_silent_and_repeatable(tmp_path, capfd, half, tiny_bundle):
    """Warnings are errors in this suite, so the export raises none either."""
    write_graphs(half, tmp_path)
    assert capfd.readouterr() == ("", "")
    for name in ("weights.safetensors", "encoder.onnx", "decoder.onnx", "decoder.int8.onnx"):
        assert (tmp_path / name).read_bytes() == (tiny_bundle / name).read_bytes(), name


# --- batch norms


def _with_encoder(name: str, layer: str | None = None) -> Captioner:
    torch.manual_seed(1)
    encoder = load_encoder(name, "none", 64, layer)
    captioner = Captioner(encoder, ShowAttendTell(WordEmbedding(11, 5), encoder.depth, encoder.grid, size=8)).eval()
    for key, tensor in captioner.encoder.named_buffers():
        if key.endswith("running_mean"):
            tensor.uniform_(-0.3, 0.3)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    for key, parameter in captioner.encoder.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5) if key.endswith("weight") else torch.nn.init.normal_(parameter)
    return captioner


@pytest.mark.parametrize(
    ("name", "all_fold"),
    [
        ("test_efficientnet", True),
        ("test_resnet", True),
        ("resnetv2_18", False),  # norms before convolutions
        ("densenet121", False),  # one convolution read by many norms
        ("test_convnext", None),  # no batch norm
        ("test_byobnet", None),
    ],
)
def test_folding_leaves_regions_as_they_are(name, all_fold):
    captioner = _with_encoder(name)
    images = images_like(captioner, 2)
    folded = copy.deepcopy(captioner)
    fold_norms.fold_batch_norms(folded)
    exported = fold_norms.norms_as_biases(folded)
    with torch.no_grad():
        expected = captioner.encoder(images).regions
        for model in (folded, exported):
            error = (model.encoder(images).regions - expected).norm() / expected.norm()
            assert float(error) < 1e-4
    norms, left = (_count_norms(model) for model in (captioner, exported))
    if all_fold is not None:
        assert norms > 3
        assert (left == 0) == all_fold
        assert left < norms, "nothing was folded"
    assert list(folded.state_dict()) == list(captioner.state_dict())


def _count_norms(captioner: Captioner) -> int:
    return sum(isinstance(module, torch.nn.BatchNorm2d) for module in captioner.encoder.modules())


class _Forked(torch.nn.Module):
    """A convolution that feeds a norm and, past it, the output; and one that two norms read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.plain = torch.nn.Conv2d(3, 8, 3, 2), torch.nn.Conv2d(8, 8, 1)
        self.norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(8) for _ in range(2)])

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.stem(images)
        return stem + self.norms[1](self.plain(torch.relu(self.norms[0](stem))))

    forward = forward_features


def test_a_convolution_with_two_readers_is_not_folded():
    captioner = _with_encoder("test_resnet")
    captioner.encoder.backbone = _Forked().eval()
    for name, parameter in captioner.encoder.named_parameters():
        if "norms" in name:
            torch.nn.init.uniform_(parameter, 2, 3)
    folded = copy.deepcopy(captioner)
    fold_norms.fold_batch_norms(folded)
    images = images_like(captioner, 2)
    with torch.no_grad():
        torch.testing.assert_close(folded.encoder(images).regions, captioner.encoder(images).regions)
    assert [fold_norms._is_bias(norm) for norm in folded.encoder.backbone.norms] == [False, True]  # pyright: ignore


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnetv2_18", "test_nfnet"])
def test_other_encoders_export(tmp_path, name):
    """Norms that stay; standardised convolutions, whose computed weights stay in the graph."""
    half = half_precision(_with_encoder(name))
    write_graphs(half, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    images = images_like(half, 3)
    with torch.no_grad():
        expected = half.prepare(images).values.numpy()
    [found] = session.run(["memory.values"], {"images": images.numpy()})
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-3 * np.abs(expected).max())


def test_a_plain_encoder_is_written_in_8_bits_too(tmp_path, monkeypatch):
    half = half_precision(_with_encoder("resnet18", "layer2"))
    photo, step = graphs._export_encoder(fold_norms.norms_as_biases(half)), graphs._export_decoder(half)
    monkeypatch.setattr(graphs, "_export_encoder", lambda model: copy.deepcopy(photo))
    monkeypatch.setattr(graphs, "_export_decoder", lambda model: copy.deepcopy(step))
    monkeypatch.setattr(graphs, "_demo_images", lambda model: images_like(model, 4).numpy())
    write_graphs(half, tmp_path)
    images = images_like(half, 2).numpy()
    exact, coarse = (
        np.asarray(onnxruntime.InferenceSession(tmp_path / name).run(["memory.values"], {"images": images})[0])
        for name in ("encoder.onnx", "encoder.int8.onnx")
    )
    assert 1e-4 < np.sqrt(((coarse - exact) ** 2).sum() / (exact**2).sum()) < 0.12
    (tmp_path / "encoder.int8.onnx").unlink()
    monkeypatch.setattr(graphs, "MAX_ERROR", 0.0)
    write_graphs(half, tmp_path)
    assert not (tmp_path / "encoder.int8.onnx").exists()
    monkeypatch.setattr(graphs, "MAX_GRAPH_BYTES", 10)
    assert graphs._quantised(photo, step, images) == {}


def test_integer_buffers_are_not_rounded():
    """Position tables of transformers in stages are matrices too."""
    captioner = _with_encoder("test_resnet")
    table = torch.arange(4096).reshape(64, 64) + 4000
    captioner.encoder.backbone.register_buffer("table", table.clone())
    captioner.encoder.backbone.register_buffer("soft", torch.rand(30, 30))
    half = half_precision(captioner).state_dict()
    assert torch.equal(half["encoder.backbone.table"], table)
    assert torch.equal(half["encoder.backbone.soft"], half["encoder.backbone.soft"].half().float())


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_that_half_precision_cannot_hold_are_named(tiny_captioner, value):
    broken = copy.deepcopy(tiny_captioner)
    broken.decoder.gate.weight.data[0, 0] = value
    with pytest.raises(BundleError, match=r"^decoder\.gate\.weight: holds values that are not finite"):
        half_precision(broken)


# --- harm


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_changed_byte_is_seen(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{re.escape(str(copied))}: {name} was changed"):
        open_bundle(copied)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_truncated_or_missing_file_is_seen(copied, name):
    size = (copied / name).stat().st_size
    os.truncate(copied / name, size - 1)
    with pytest.raises(BundleError, match=f"{name} has {size - 1} bytes, expected {size}"):
        open_bundle(copied)
    (copied / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        open_bundle(copied)


def test_a_bundle_of_before_the_8_bits_opens(copied):
    (copied / "decoder.int8.onnx").unlink()
    write_manifest(copied, (3, 3))
    assert open_bundle(copied).name == "tiny"


def test_extra_files_are_tolerated(copied):
    (copied / "notes.txt").write_text("mine")
    assert open_bundle(copied).name == "tiny"


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="nowhere: no such folder"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"no manifest\.json in it, so it is no seesay bundle"):
        open_bundle(tmp_path)
    (tmp_path / "run/bundle").mkdir(parents=True)
    (tmp_path / "run/bundle/manifest.json").touch()
    with pytest.raises(BundleError, match=r"no seesay bundle\. Did you mean '.*bundle'"):
        open_bundle(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="file: no such folder"):
        open_bundle(tmp_path / "file")


def test_json_of_names_that_are_no_text_is_whole_or_not_there(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "scores.json", {name: 1})
    assert json.loads((tmp_path / "scores.json").read_text("utf-8")) == {name: 1}
    with pytest.raises(TypeError):
        write_json(tmp_path / "scores.json", {"captions": object()})
    assert json.loads((tmp_path / "scores.json").read_text("utf-8")) == {name: 1}
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '"text"', '{"format": "seesay-bundle"}', "\x00\x01"])
def test_a_damaged_manifest(copied, text):
    (copied / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        open_bundle(copied)


def _edit_manifest(folder: Path, **changes) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "zip"}, "format is 'zip', expected 'seesay-bundle'"),
        ({"format_version": 2, "seesay": "9.1"}, r"format version 2, this seesay \(.*\) reads 1; .* by seesay 9\.1"),
        ({"files": {}}, "does not list the files of the format"),
        ({"files": None}, "files=null: expected keys and values"),
        ({"files": list(FILES)}, r"files=\['recipe.yaml', .*\.\.\.: expected keys and values"),
        ({"files": dict.fromkeys(FILES, 3)}, r"files\.recipe\.yaml=3: expected keys and values"),
        ({"files": {name: {} for name in FILES}}, r"files\.recipe\.yaml\.bytes is missing"),
        ({"grid": [1]}, r"grid=\[1\]: expected 2 whole numbers from 1 to 4,096"),
        ({"grid": None}, "grid=null: expected 2 whole numbers"),
    ],
)
def test_another_manifest(copied, changes, said):
    _edit_manifest(copied, **changes)
    with pytest.raises(BundleError, match=said):
        open_bundle(copied)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_a_manifest_that_points_outside_is_refused(copied, name):
    (copied.parent / "secret").write_text("x")
    files = json.loads((copied / "manifest.json").read_text())["files"]
    files[name] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    _edit_manifest(copied, files=files)
    with pytest.raises(BundleError, match="and no others"):
        open_bundle(copied)


def test_a_sealed_bundle_that_makes_no_sense(copied):
    (copied / "search.json").write_text('{"beam": 0}')
    write_manifest(copied, (3, 3))
    with pytest.raises(BundleError, match=r"search\.json: beam=0: expected a whole number from 1 to 100$"):
        open_bundle(copied)


def test_weights_of_another_model_are_refused(copied, half):
    state = load_file(copied / "weights.safetensors")
    del state["decoder.gate.bias"]
    (copied / "weights.safetensors").write_bytes(save(state))
    write_manifest(copied, (3, 3))
    with pytest.raises(BundleError, match=r"do not fit the model of its recipe, as timm (?s:.*)gate\.bias"):
        load_captioner(open_bundle(copied))


# --- writing


def test_a_failed_write_leaves_the_old_bundle(copied, monkeypatch, tiny_recipe, tiny_captioner, tiny_tokenizer):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}

    def explode(model, folder):
        (folder / "encoder.onnx").write_bytes(b"half a graph")
        raise OSError("disk full")

    monkeypatch.setattr("seesay.export.write.write_graphs", explode)
    with pytest.raises(OSError, match="disk full"):
        write_bundle(copied, tiny_recipe, tiny_captioner, tiny_tokenizer, BeamOptions())
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert [path.name for path in copied.parent.iterdir()] == ["copy"]
    monkeypatch.setattr("seesay.export.write.write_graphs", _fake_graphs)
    write_bundle(copied, tiny_recipe, tiny_captioner, tiny_tokenizer, BeamOptions(beam=7))
    assert open_bundle(copied).search.beam == 7
    assert [path.name for path in copied.parent.iterdir()] == ["copy"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_every_file_can_be_read_by_others(tmp_path, half):
    mask = os.umask(0o022)
    try:
        (tmp_path / "plain").write_text("")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graphs, "_export_encoder", lambda model: onnx.ModelProto())
            patch.setattr(graphs, "_export_decoder", lambda model: onnx.ModelProto())
            patch.setattr(graphs, "_quantised", lambda *_: {"decoder.int8.onnx": onnx.ModelProto()})
            write_graphs(half, tmp_path)
    finally:
        os.umask(mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o644}, modes


def test_recipe_and_card(tiny_bundle):
    card = (tiny_bundle / "README.md").read_text()
    assert "`test_efficientnet` at 96 x 96" in card
    assert "None were taken." in card


def test_card_shows_examples_where_the_scores_have_some(tiny_recipe):
    figures = {"images": 5, "cider": 0.5, "tokeniser": "ours"}
    plain = model_card(tiny_recipe, {"dev": figures}, "\n## Notes\n")
    examples = [{"id": "a|b.jpg", "caption": "a dog | runs", "cider": 1.234}, {"id": "c", "caption": "", "cider": 0}]
    shown = model_card(tiny_recipe, {"dev": {**figures, "examples": examples}, "other": figures}, "\n## Notes\n")
    assert "What to expect" not in plain and "| dev | 5 |" in shown
    assert shown.count("\n| dev | `") == 2, "a row each, whatever stands in the text"
    assert "\n| dev | `a\\|b.jpg` | a dog \\| runs | 123.4 |\n| dev | `c` |  | 0.0 |\n\n## Notes\n" in shown


# --- `seesay export`


def test_exported_graphs_run_alone(tiny_bundle, tmp_path):
    out = export_graphs(tiny_bundle, tmp_path / "graphs")
    session = onnxruntime.InferenceSession(out / "encoder.onnx")
    [values] = session.run(["memory.values"], {"images": np.zeros((1, 3, 96, 96), np.float32)})
    assert np.asarray(values).shape == (1, 9, 13)
    assert "P = 9 regions (3 rows of 3)" in (out / "README.md").read_text()
    export_graphs(tiny_bundle, out)  # an earlier export is replaced
    names = {node.name for node in (*session.get_inputs(), *session.get_outputs())}
    assert names == {"images", "memory.values", "memory.keys", "state.h", "state.c"}


def test_export_replaces_nothing_else(tiny_bundle, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists and is no earlier export"):
        export_graphs(tiny_bundle, tmp_path)
    with pytest.raises(BundleError, match="exists and is no earlier export"):
        export_graphs(tiny_bundle, tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    for name in ("README.md", "search.json"):  # a project that has no more than one file of this name
        folder = tmp_path / name.lower()
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(BundleError, match="exists and is no earlier export"):
            export_graphs(tiny_bundle, folder)


def test_export_into_the_current_folder(tiny_bundle, tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    export_graphs(tiny_bundle, Path())
    assert (folder / "README.md").exists()
