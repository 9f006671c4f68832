"""Bundles from strangers, checksums computed anew after each change: refused in one line, or as good as before."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from seesay.bundle.agreement import check_parts
from seesay.bundle.copy_graphs import export_graphs
from seesay.bundle.format import open_bundle
from seesay.bundle.weights_file import check_weights
from seesay.cli import main
from seesay.config import Recipe
from seesay.errors import RecipeError, SeesayError
from seesay.evaluation.comparison import compare, read_run
from seesay.export.load import load_captioner
from seesay.models.encoder import Encoder
from seesay.runtime import CaptionModel
from seesay.training.starting_point import load_starting_point

ESCAPES = "\x1b[31mred\x9b1m\u202e\x07\n"
DECODERS = ("decoder.onnx", "decoder.int8.onnx")

Edit = Callable[[Any], Any]


@pytest.fixture
def forged(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to forge."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "forged"))


def edit_json(path: Path, edit: Edit) -> None:
    """Change a JSON file in place, or put what `edit` gives in its place."""
    values = json.loads(path.read_text("utf-8"))
    changed = edit(values)
    path.write_text(json.dumps(values if changed is None else changed), encoding="utf-8")


def seal(folder: Path) -> None:
    """Sizes and checksums anew, as a forger would."""

    def edit(manifest: Any) -> None:
        for name, entry in manifest["files"].items():
            data = (folder / name).read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    edit_json(folder / "manifest.json", edit)


def refusal(action: Callable[[], Any]) -> str:
    """What is said; one line, harmless to a terminal."""
    with pytest.raises(SeesayError) as error:
        action()
    said = str(error.value)
    assert said.isprintable(), said
    assert len(said) < 500
    return said


def checked(folder: Path) -> None:
    check_parts(open_bundle(folder))


def put(key: str, value: Any) -> Edit:
    """An edit that sets `a.b.c` to a value."""

    def edit(values: Any) -> None:
        *sections, last = key.split(".")
        for section in sections:
            values = values[section]
        values[last] = value

    return edit


# --- texts that are none of the kind


@pytest.mark.parametrize("name", ["manifest", "search", "preprocessing", "tokenizer", "scores"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "Expecting value"),
        (b"[" * 100_000, "brackets are nested too deeply"),
        (b'{"a":' * 100_000, "brackets are nested too deeply"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1e999}', "'1e999' is too large a number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5,000 digits"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"a": "ü"}'.encode("latin-1"), "not UTF-8 at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[1]", "expected keys and values"),
        (b"\x00" * 9, "Expecting value"),
    ],
)
def test_texts_that_are_no_json(forged: Path, name: str, data: bytes, said: str) -> None:
    (forged / f"{name}.json").write_bytes(data)
    if name != "manifest":
        seal(forged)
    assert re.search(rf"{name}\.json( is damaged)?: .*{said}", refusal(lambda: open_bundle(forged)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "expected keys and values, got list"),
        ("a: &x [lol]\nname: *x\n", r"'\*x' is an alias"),
        ("name: !!python/object/apply:os.system [exit]\n", "could not determine a constructor"),
        ("[" * 2000, "nested too deeply|maximum nesting depth"),
        ("# " + "x" * 70_000, "70,002 characters are too many, expected at most 65,536"),
        ("name: [a]\n", r"name=\['a'\]: expected a word or a path"),
        ("decoder: {size: 1000000000}\n", "decoder.size=1000000000: expected at most 65,536"),
        (
            "decoder: {layers: 65}\ndata: 7\n",
            "decoder.layers=65: expected at most 64; data=7: expected keys and values",
        ),
        ("train: {lr: .nan}\n", "train.lr=nan: expected 0 to 10"),
        ("encoder: {name: [a]}\n", "encoder.name="),
        ("seed: 2001-01-01\n", "seed=.*: expected a whole number"),
        ("search: {beam: 101}\n", "search.beam=101: expected at most 100"),
    ],
)
def test_recipes_that_are_none(forged: Path, text: str, said: str) -> None:
    (forged / "recipe.yaml").write_text(text, encoding="utf-8")
    seal(forged)
    assert re.search(rf"recipe\.yaml( is damaged)?: .*{said}", refusal(lambda: open_bundle(forged).recipe))


# --- values


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format_version", True, "format_version=true: expected a whole number"),
        ("format_version", 1.0, "format_version=1.0: expected a whole number"),
        ("format_version", "1", "format_version='1': expected a whole number"),
        ("format_version", 10**30, "format_version=1000"),
        ("format", [], r"format=\[\]: expected a text"),
        ("format", ESCAPES, r"format is '\\x1b\[31mred"),
        ("seesay", {"a": 1}, "seesay={'a': 1}: expected a text"),
        ("grid", [4, 16], r"grid=\[4, 16\]: a photo is made square"),
        ("grid", [0, 0], r"grid=\[0, 0\]: expected 2 whole numbers"),
        ("grid", [3, 3, 3], r"grid=\[3, 3, 3\]: expected 2 whole numbers"),
        ("grid", ["3", "3"], r"grid=\['3', '3'\]: expected"),
        ("grid", [3.0, 3.0], r"grid=\[3.0, 3.0\]: expected"),
        ("grid", [10**6, 10**6], r"grid=\[1000000, 1000000\]: expected"),
        ("files.README.md", None, r"files\.README\.md=null: expected keys and values"),
    ],
)
def test_manifests(forged: Path, key: str, value: Any, said: str) -> None:
    def edit(values: Any) -> None:
        section, _, name = key.partition(".")
        if name:
            values[section][name] = value
        else:
            values[section] = value

    edit_json(forged / "manifest.json", edit)
    assert re.search(said, refusal(lambda: open_bundle(forged)))


@pytest.mark.parametrize("value", [None, "9", True, -1, 1.5])
def test_sizes_that_are_none(forged: Path, value: Any) -> None:
    edit_json(forged / "manifest.json", lambda values: values["files"]["search.json"].update(bytes=value))
    assert re.search(r"files\.search\.json\.bytes=.*: expected a whole number", refusal(lambda: open_bundle(forged)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("size", 10**6, "size=1000000: expected a whole number from 1 to 4,096"),
        ("size", "96", "size='96': expected"),
        ("size", 96.0, "size=96.0: expected"),
        ("mean", [0.5, 0.5], r"mean=\[0.5, 0.5\]: expected 3 numbers"),
        ("mean", [None] * 3, "mean=.*: expected 3 numbers"),
        ("mean", 0.5, "mean=0.5: expected 3 numbers"),
        ("std", [0, 0, 0], r"std=\[0, 0, 0\]: expected 3 numbers from 0.0001 to 1000"),
        ("std", [1e-300] * 3, "std=.*: expected 3 numbers"),
        ("std", [True] * 3, "std=.*: expected 3 numbers"),
        ("resample", "nearest", r"resample='nearest': expected bilinear \| bicubic \| lanczos"),
        ("resample", [], r"resample=\[\]: expected"),
        ("crop", 1, "unknown field 'crop'"),
    ],
)
def test_preprocessing(forged: Path, key: str, value: Any, said: str) -> None:
    edit_json(forged / "preprocessing.json", put(key, value))
    seal(forged)
    assert re.search(rf"preprocessing\.json: {said}", refusal(lambda: open_bundle(forged)))


def other_words(edit: Callable[[dict[str, int]], Mapping[str, Any]]) -> Edit:
    return lambda values: values["model"].update(vocab=edit(values["model"]["vocab"]))


def pieces(merges: Any) -> Edit:
    return lambda values: values["model"].update(
        type="BPE", merges=merges, continuing_subword_prefix="##", dropout=None, fuse_unk=False
    )


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (other_words(lambda words: {}), "expected 4 reserved tokens, and words"),
        (other_words(lambda words: {w: i for w, i in words.items() if i < 4}), "expected 4 reserved tokens, and words"),
        (other_words(lambda words: {**words, "more": 99}), "expected each id from 0 to 23 once"),
        (other_words(lambda words: {**words, "more": 5}), "expected each id from 0 to 23 once"),
        (other_words(lambda words: {w: str(i) for w, i in words.items()}), "expected each id from 0 to 22 once"),
        (other_words(lambda words: {**words, "<s>": True}), "expected each id from 0 to 22 once"),
        (other_words(lambda words: {**words, "<s>": 2, "</s>": 1}), "the first ids are"),
        (
            other_words(lambda words: {f"{w}{ESCAPES}" if i == 9 else w: i for w, i in words.items()}),
            "none for control",
        ),
        (other_words(lambda words: {"x" * 300 if i == 9 else w: i for w, i in words.items()}), "1 to 200 characters"),
        (put("model.vocab", [["a", 1]]), "expected 4 reserved tokens"),
        (put("model.type", "Unigram"), r"model.type='Unigram': expected WordLevel \| BPE"),
        (put("model", None), "model.type=null"),
        (put("normalizer", None), "normalizer=null: expected"),
        (put("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "normalizer=.*: expected"),
        (put("pre_tokenizer.pattern", {"Regex": "(a|a)*b"}), "pre_tokenizer=.*: expected"),
        (put("added_tokens", [{"id": 4, "content": "x"}]), "added_tokens=.*: expected"),
        (put("padding", {"strategy": {"Fixed": 10**12}}), "padding=.*: expected null"),
        (pieces([["a", "b"]]), "expected two tokens that make a third"),  # makes the library abort
        (pieces("a b"), "expected a list of pairs"),
        (pieces([[1, 2]]), "expected a pair of tokens"),
    ],
)
def test_vocabularies(forged: Path, edit: Edit, said: str) -> None:
    edit_json(forged / "tokenizer.json", edit)
    seal(forged)
    assert re.search(rf"tokenizer\.json: .*{said}", refusal(lambda: open_bundle(forged)))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"cider": "x"}, "dev.cider='x': expected a number from 0 to 100"),
        ({"cider_interval": [0.1]}, r"dev.cider_interval=\[0.1\]: expected 2 numbers"),
        ({"images": None}, "dev.images=null: expected a whole number"),
        ({"tokeniser": 5}, "dev.tokeniser=5: expected a text"),
        ({"notes": [ESCAPES, 1]}, "dev.notes=.*: expected at most 100 texts"),
        ({"meteor": True}, "dev.meteor=true: expected a number"),
    ],
)
def test_figures(forged: Path, figures: dict[str, Any], said: str) -> None:
    (forged / "scores.json").write_text(json.dumps({"dev": figures}), encoding="utf-8")
    seal(forged)
    assert re.search(rf"scores\.json: {said}", refusal(lambda: read_run(forged)))


# --- weights


def edit_weights(folder: Path, edit: Callable[[dict[str, Any], bytearray], None]) -> None:
    """Change header and numbers of the weights."""
    data = (folder / "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header, numbers = json.loads(data[8:start]), bytearray(data[start:])
    edit(header, numbers)
    text = json.dumps(header).encode()
    (folder / "weights.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    seal(folder)


@pytest.mark.parametrize("name", ["decoder.embedding.weight", "decoder.gate.bias"])  # half and single precision
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(forged: Path, name: str, value: float) -> None:
    def edit(header: dict[str, Any], numbers: bytearray) -> None:
        kind = {"F16": np.float16, "F32": np.float32}[header[name]["dtype"]]
        stop = header[name]["data_offsets"][1]
        numbers[stop - kind(0).nbytes : stop] = kind(value).tobytes()

    assert name in check_weights(forged)
    edit_weights(forged, edit)
    said = f"weights.safetensors: '{name}' holds values that are NaN or infinite"
    for action in (CaptionModel, load_captioner, lambda bundle: read_run(bundle.folder), check_parts):
        assert said in refusal(lambda action=action: action(open_bundle(forged)))
    assert said in refusal(lambda: export_graphs(forged, forged.parent / "out"))


def test_the_largest_numbers_are_numbers(forged: Path) -> None:
    edit_weights(forged, lambda header, numbers: numbers.__setitem__(slice(None), b"\xff\xfb" * (len(numbers) // 2)))
    check_weights(forged)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "F99"}, "'encoder.*: expected dtype"),
        ({"dtype": None}, "expected dtype"),
        ({"shape": [-1]}, "expected dtype .*, shape"),
        ({"shape": "4"}, "expected dtype"),
        ({"shape": [2**40, 2**40]}, "expected dtype"),
        ({"data_offsets": [0, 2**60]}, "data_offsets"),
        ({"data_offsets": [0]}, "data_offsets"),
        ({"data_offsets": None}, "data_offsets"),
    ],
)
def test_headers_of_weights(forged: Path, change: dict[str, Any], said: str) -> None:
    edit_weights(forged, lambda header, numbers: header["encoder.backbone.conv_stem.weight"].update(change))
    assert re.search(rf"weights\.safetensors is damaged: .*{said}", refusal(lambda: checked(forged)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be read"),
        (b"\x00" * 4, "its header is said to have"),
        (b"\xff" * 8 + b"x" * 9, "its header is said to have 18,446,744,073,709,551,615 bytes"),
        (b"garbage" * 9, "its header is said to have"),
        ((9**5).to_bytes(8, "little") + b"[" * 9**5, "nested too deeply"),
        (b"\x02" + b"\x00" * 7 + b"[]", r"its header is \[\]"),
        (b"\x02" + b"\x00" * 7 + b"{}x", "its tensors have 0 bytes, the file has 1"),
    ],
)
def test_files_that_hold_no_weights(forged: Path, data: bytes, said: str) -> None:
    (forged / "weights.safetensors").write_bytes(data)
    seal(forged)
    assert re.search(rf"weights\.safetensors is damaged: .*{said}", refusal(lambda: checked(forged)))


# --- graphs


def edit_graph(folder: Path, names: tuple[str, ...], edit: Callable[[onnx.ModelProto], bytes | None]) -> None:
    for name in names:
        model = onnx.load(folder / name, load_external_data=False)
        data = edit(model)
        (folder / name).write_bytes(model.SerializeToString() if data is None else data)
    seal(folder)


def elsewhere(location: str) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = location

    return edit


def far_tensor() -> TensorProto:
    tensor = TensorProto(name="far", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def in_an_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["far"], value=far_tensor()))


def in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("far", 1, [4])], [far_tensor()])
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["far2"], then_branch=inner, else_branch=inner))


def in_a_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["far"], value=far_tensor())
    model.functions.append(helper.make_function("x", "F", [], ["far"], [node], model.opset_import))


@pytest.mark.parametrize(
    "edit",
    [
        *map(elsewhere, ["../secret", "/etc/passwd", "/dev/zero", "sub/../../secret", "README.md", "", ESCAPES]),
        in_an_attribute,
        in_a_branch,
        in_a_function,
    ],
)
@pytest.mark.parametrize("names", [("encoder.onnx",), DECODERS])
def test_graphs_read_weights_from_no_other_file(forged: Path, names: tuple[str, ...], edit: Any) -> None:
    edit_graph(forged, names, edit)
    said = refusal(lambda: checked(forged))
    assert re.search(rf"{names[0]}: reads weights from '.*', expected weights\.safetensors", said)


def test_a_key_that_is_overwritten_by_a_field_of_another_kind_is_still_read(forged: Path) -> None:
    """A reader that forgets the kinds of fields would take the number for the key, and see no location."""

    def edit(model: onnx.ModelProto) -> bytes:
        data = model.SerializeToString()
        entry = b"\x6a\x1f\x0a\x08location\x12\x13weights.safetensors"
        other = b"\x6a\x1f\x0a\x08location\x12\x11../secret.weights\x08\x00"
        assert len(other) == len(entry) and entry in data
        return data.replace(entry, other, 1)

    edit_graph(forged, ("encoder.onnx",), edit)
    assert "reads weights from '../secret.weights'" in refusal(lambda: checked(forged))


def _length(number: int) -> bytes:
    head = bytes([number & 127 | 128 * (number > 127)])
    return head + _length(number >> 7) if number > 127 else head


def nested(model: onnx.ModelProto) -> bytes:
    inside = b"location"
    for _ in range(300):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # a graph in an attribute of a node of a graph
            inside = tag + _length(len(inside)) + inside
    return model.SerializeToString() + b"\x3a" + _length(len(inside)) + inside


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda model: b"garbage" * 9, "not an ONNX file"),
        (lambda model: b"\x3b" * 9, "not an ONNX file"),
        (lambda model: b"\xff" * 99, "not an ONNX file"),
        (lambda model: model.SerializeToString()[:-9], "not an ONNX file, or cut short"),
        (nested, "nested too deeply"),
    ],
)
def test_files_that_are_no_graphs(forged: Path, edit: Any, said: str) -> None:
    edit_graph(forged, ("decoder.onnx",), edit)
    assert f"decoder.onnx cannot be run: {said}" in refusal(lambda: checked(forged)).replace("its graphs are ", "")


def port(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    return next(value for value in (*model.graph.input, *model.graph.output) if value.name == name)


def void(_: Any) -> None:
    """An edit gives nothing, or a file's content."""


def declared(name: str, kind: int | None = None, **axes: int) -> Callable[[onnx.ModelProto], None]:
    """An edit of what a graph says of an input or output: its type, or the length of axis n."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = port(model, name).type.tensor_type
        if kind is not None:
            tensor.elem_type = kind
        for axis, length in axes.items():
            tensor.shape.dim[int(axis[1:])].dim_value = length

    return edit


@pytest.mark.parametrize(
    ("names", "edit", "said"),
    [
        (("encoder.onnx",), declared("images", a2=97), "'images' is float32 any x 3 x 97 x 96, expected"),
        (("encoder.onnx",), declared("images", 2), "'images' is of type 2 any x 3 x 96 x 96, expected float32"),
        (
            ("encoder.onnx",),
            declared("state.h", a1=2),
            "'state.h' is float32 any x 2 x 13, expected float32 any x 1 x 13",
        ),
        (("encoder.onnx",), lambda model: void(model.graph.output.pop()), "has the inputs .*, expected .*'tokens'"),
        (
            ("encoder.onnx",),
            lambda model: void(model.graph.output.append(model.graph.output[0])),
            "called 'memory.values'",
        ),
        (DECODERS, declared("tokens", 1), "'tokens' is float32 any x any, expected int64"),
        (
            DECODERS,
            declared("logprobs", a2=24),
            "'logprobs' is float32 any x any x 24, expected .* 23 of the vocabulary",
        ),
        (DECODERS, declared("attention", a2=8), "'attention' is .* 8, expected float32 any x any x 9 of the grid"),
        (DECODERS, declared("next.h", a2=14), "'next.h' is float32 any x any x 14, expected"),
        (DECODERS, declared("memory.keys", a1=8), "'memory.keys' is float32 any x 8 x 7, expected"),
        (DECODERS, lambda model: void(model.graph.output.reverse()), "has the outputs .*, expected .*'logprobs'"),
        (DECODERS, lambda model: void(model.graph.input.pop()), "has the inputs"),
    ],
)
def test_graphs_fit_the_other_parts(forged: Path, names: tuple[str, ...], edit: Any, said: str) -> None:
    edit_graph(forged, names, edit)
    assert re.search(said, refusal(lambda: checked(forged)))
    assert re.search(said, refusal(lambda: CaptionModel(open_bundle(forged), precision="float32")))


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("manifest", put("grid", [4, 4]), "'attention' is float32 any x any x 9, expected float32 any x any x 16"),
        ("preprocessing", put("size", 64), "'images' is float32 any x 3 x 96 x 96, expected float32 any x 3 x 64 x 64"),
        ("tokenizer", other_words(lambda words: {**words, "more": 23}), "'logprobs' is .* 23, expected .* 24"),
    ],
)
def test_other_parts_fit_the_graphs(forged: Path, name: str, edit: Edit, said: str) -> None:
    edit_json(forged / f"{name}.json", edit)
    seal(forged)
    assert re.search(said, refusal(lambda: CaptionModel(open_bundle(forged))))
    assert re.search(said, refusal(lambda: export_graphs(forged, forged.parent / "out")))


def test_graphs_with_weights_that_are_no_numbers(forged: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and t.raw_data)
        tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()

    edit_graph(forged, ("decoder.int8.onnx",), edit)
    assert "decoder.int8.onnx: holds weights that are not numbers" in refusal(lambda: checked(forged))


# --- what graphs compute


def computed(name: str, value: float | np.ndarray) -> Callable[[onnx.ModelProto], None]:
    """An edit after which an output is another array, or has one number everywhere."""

    def edit(model: onnx.ModelProto) -> None:
        if name not in [output.name for output in model.graph.output]:
            return
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place in [place for place, each in enumerate(names) if each == name]:
                    names[place] = "before"
        if isinstance(value, np.ndarray):
            model.graph.initializer.append(numpy_helper.from_array(value, "other"))
            model.graph.node.append(helper.make_node("Identity", ["other"], [name]))
            return
        numbers = np.array(0, np.float32), np.array(value, np.float32)
        for each, number in zip(("nothing", "number"), numbers, strict=True):
            model.graph.initializer.append(numpy_helper.from_array(number, each))
        model.graph.node.append(helper.make_node("Mul", ["before", "nothing"], ["none"]))
        model.graph.node.append(helper.make_node("Add", ["none", "number"], [name]))

    return edit


def breaks(model: onnx.ModelProto) -> None:
    """Opens, and fails when it runs."""
    first, shape = model.graph.input[0].name, [7, 3, 96, 96] if len(model.graph.input) == 1 else [7, 7]
    for node in model.graph.node:
        for place in [place for place, name in enumerate(node.input) if name == first]:
            node.input[place] = "turned"
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape), "shape"))
    model.graph.node.insert(0, helper.make_node("Reshape", [first, "shape"], ["turned"]))


def asks_for_memory(model: onnx.ModelProto) -> None:
    """More than any machine has; ONNX Runtime says so by a logger of its own."""
    computed("logprobs", 0.0)(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**31, 2**31]), "shape"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["vast"]))
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["vast"], ["sum"], keepdims=0))
    model.graph.node.add(op_type="Identity", input=["sum"], output=["unread"])
    for node in model.graph.node:
        if node.output[0] == "none":
            node.input[1] = "sum"


def shaped(*axes: int) -> np.ndarray:
    return np.zeros(axes, np.float32)


@pytest.mark.parametrize(
    ("names", "edit", "said"),
    [
        (
            ("encoder.onnx",),
            computed("memory.values", np.inf),
            r"encoder\.onnx: gives 'memory.values' that is no number",
        ),
        (("encoder.onnx",), computed("state.h", shaped(1, 2, 13)), r"encoder\.onnx: gives 'state.h' of \[1, 2, 13\]"),
        (("encoder.onnx",), breaks, r"encoder\.onnx: fails when it runs"),
        (DECODERS, computed("logprobs", np.inf), "graphs give no numbers"),
        (DECODERS, computed("logprobs", 5.0), "graphs give no numbers"),
        (DECODERS, computed("logprobs", -np.inf), "graphs give no numbers"),
        (DECODERS, computed("attention", -np.inf), "graphs give no numbers"),
        (DECODERS, computed("attention", 5.0), "graphs give no numbers"),
        (DECODERS, computed("logprobs", shaped(1, 1, 22)), r"onnx: gives 'logprobs' of \[1, 1, 22\]"),
        (DECODERS, computed("logprobs", shaped(23)), r"onnx: gives 'logprobs' of \[23\]"),
        (DECODERS, computed("attention", shaped(1, 1, 8)), r"onnx: gives 'attention' of \[1, 1, 8\]"),
        (DECODERS, computed("next.h", shaped(9, 9, 13)), r"onnx: gives 'next.h' of \[9, 9, 13\]"),
        (DECODERS, breaks, "onnx: fails when it runs"),
        (DECODERS, asks_for_memory, "onnx: fails when it runs"),
    ],
)
def test_what_a_graph_computes(
    forged: Path,
    tiny_photos: list[Path],
    names: tuple[str, ...],
    edit: Any,
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    edit_graph(forged, names, edit)
    model = CaptionModel(open_bundle(forged), threads=1)
    assert re.search(said, refusal(lambda: model.caption(tiny_photos[0])))
    assert re.search(said, refusal(lambda: list(model.caption_many(tiny_photos))))
    assert capfd.readouterr() == ("", ""), "ONNX Runtime writes errors of its own"


# --- files


def test_links_and_pipes(forged: Path) -> None:
    for name in ("manifest.json", "search.json", "weights.safetensors"):
        kept = (forged / name).read_bytes()
        (forged / name).unlink()
        os.mkfifo(forged / name)
        assert name in refusal(lambda: open_bundle(forged))
        (forged / name).unlink()
        (forged / name).symlink_to("/dev/zero")
        assert name in refusal(lambda: open_bundle(forged))
        (forged / name).unlink()
        (forged / name).symlink_to(name)
        assert name in refusal(lambda: open_bundle(forged))
        (forged / name).unlink()
        (forged / name).write_bytes(kept)
    checked(forged)


def test_weights_that_are_linked_from_elsewhere(forged: Path) -> None:
    """As model hubs keep their caches; ONNX Runtime follows no link out of the folder."""
    (forged / "weights.safetensors").rename(forged.parent / "kept")
    (forged / "weights.safetensors").symlink_to(forged.parent / "kept")
    load_captioner(open_bundle(forged))
    assert "copy the bundle, with `cp -rL`" in refusal(lambda: CaptionModel.load(forged))


def test_a_file_of_a_terabyte_is_not_read(forged: Path) -> None:
    os.truncate(forged / "weights.safetensors", 2**40)
    edit_json(forged / "manifest.json", lambda values: values["files"]["weights.safetensors"].update(bytes=2**40))
    said = r"weights\.safetensors\.bytes=1099511627776: expected a whole number from 0 to 34,359,738,368"
    assert re.search(said, refusal(lambda: open_bundle(forged)))


# --- the recipe's model


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("decoder.size", 65536, "tensors do not fit the model of its recipe"),
        ("decoder.layers", 64, "tensors do not fit the model of its recipe"),
        ("decoder.kind", "gru", "tensors do not fit"),
        ("encoder.name", "resnet18", "tensors do not fit"),
        ("encoder.name", "hf-hub:someone/model", "timm has no such model"),
        ("encoder.name", f"no{ESCAPES}", r"encoder.name=no\\x1b\[31mred"),
        ("encoder.layer", "nowhere", "encoder.layer=nowhere"),
        ("images.size", 4096, "size=96: expected 4096, which is images.size of the recipe"),
        ("attention.kind", "hard", ""),
        ("newer", 1, "newer: no such key"),
    ],
)
def test_recipes_of_another_model(forged: Path, key: str, value: Any, said: str) -> None:
    recipe = yaml.safe_load((forged / "recipe.yaml").read_text("utf-8"))
    put(key, value)(recipe)
    (forged / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    seal(forged)
    bundle = open_bundle(forged)
    if said:
        assert re.search(said, refusal(lambda: load_captioner(bundle)))
    else:
        load_captioner(bundle)


def test_an_encoder_that_needs_its_numbers_to_be_built(forged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of timm's cannot be built without memory."""

    def build(*arguments: Any) -> Encoder:
        if torch.empty(0).device.type == "meta":
            raise RecipeError("Tensor.item() cannot be called on meta tensors")
        return Encoder(*arguments)

    monkeypatch.setattr("seesay.export.load.Encoder", build)
    load_captioner(open_bundle(forged))
    edit_weights(forged, lambda header, numbers: header.update(more=header.pop("encoder.backbone.conv_stem.weight")))
    assert "'more' belongs to neither encoder nor decoder" in refusal(lambda: load_captioner(open_bundle(forged)))


# --- what is harmless


def harmless_recipe(folder: Path) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    recipe |= {"name": ESCAPES, "of a newer version": [1, {"a": ESCAPES}]}
    recipe["data"] = None
    recipe["tokens"]["newer"] = ESCAPES
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


@pytest.mark.parametrize(
    "edit",
    [
        harmless_recipe,
        lambda folder: edit_json(folder / "manifest.json", put("licence", ESCAPES)),
        lambda folder: edit_json(folder / "search.json", put("may_repeat", [2, 5, 22])),
        lambda folder: (folder / "search.json").write_text("{}"),
        lambda folder: (folder / "scores.json").write_text(json.dumps({ESCAPES: ESCAPES, "dev": {"notes": [ESCAPES]}})),
        lambda folder: (folder / "README.md").write_text(ESCAPES),
    ],
)
def test_what_does_no_harm_works(forged: Path, tiny_photos: list[Path], tmp_path: Path, edit: Any) -> None:
    edit(forged)
    seal(forged)
    model = CaptionModel.load(forged)
    assert model.caption(tiny_photos[0]).text.isprintable()
    assert model.bundle.name.isprintable()
    assert all(line.isprintable() for line in compare([read_run(forged)]).table().splitlines())
    readme = (export_graphs(forged, tmp_path / "out") / "README.md").read_text("utf-8")
    assert all(line.isprintable() for line in readme.splitlines())


# --- the command line


def test_every_verb_says_one_line(
    forged: Path,
    tiny_data: Path,
    tiny_photos: list[Path],
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    edit_json(forged / "search.json", put("beam", ESCAPES))
    seal(forged)
    (tmp_path / "r.yaml").write_text(tiny_recipe.to_yaml(), encoding="utf-8")
    verbs = (
        ["caption", tiny_photos[0], "--model", forged],
        ["evaluate", "--model", forged, "--data", tiny_data, "--split", "dev"],
        ["export", forged, tmp_path / "out"],
        ["compare", forged],
        ["train", tmp_path / "r.yaml", f"data.path={tiny_data}", f"train.init={forged}", f"out={tmp_path / 'run'}"],
    )
    for verb in verbs:
        monkeypatch.setattr(sys, "argv", ["seesay", *map(str, verb)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err.endswith(
            r"search.json: beam='\x1b[31mred\x9b1m\u202e\x07\n': expected a whole number from 1 to 100" "\n"
        )
        assert all(line.isprintable() for line in err.splitlines())
        assert len(err.splitlines()) == (2 if verb[0] == "train" else 1)  # a run's problems are a list below a heading


def test_the_initial_model_is_refused_too(forged: Path, tiny_recipe: Recipe) -> None:
    from dataclasses import replace

    edit_weights(forged, lambda header, numbers: numbers.__setitem__(slice(None), b"\xff" * len(numbers)))
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, init=(str(forged),)))
    assert "holds values that are NaN" in refusal(lambda: load_starting_point(recipe))


def test_a_search_of_the_command_line_has_the_same_limit(
    tiny_bundle: Path, tiny_photos: list[Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["seesay", "caption", str(tiny_photos[0]), "--model", str(tiny_bundle), "--beam", "101"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr().err
    assert ended.value.code == 2 and "--beam" in said and "100" in said
    with pytest.raises(ValueError, match="beam=101: expected at most 100"):
        CaptionModel.load(tiny_bundle).caption(tiny_photos[0], beam=101)
