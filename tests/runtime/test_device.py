"""Where the graphs run: the choice, its errors and the way back to the processor.

No accelerator is needed, so none is used: what ONNX Runtime would say with one is made up here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from conftest import Cli

import seesay
from seesay.errors import DeviceError
from seesay.runtime import CaptionModel
from seesay.runtime.device import PROVIDERS, choose_device

CPU, CUDA, DML, COREML = (PROVIDERS[device] for device in ("cpu", "cuda", "directml", "coreml"))


@pytest.mark.parametrize(
    ("wanted", "available", "taken"),
    [
        ("cpu", [CUDA, CPU], "cpu"),
        ("auto", [CPU], "cpu"),
        ("auto", ["AzureExecutionProvider", CPU], "cpu"),
        ("auto", [COREML, CPU], "coreml"),
        ("auto", ["TensorrtExecutionProvider", CUDA, DML, CPU], "cuda"),
        ("directml", [DML, CPU], "directml"),
        ("coreml", [COREML, CPU], "coreml"),
    ],
)
def test_the_choice(wanted: Any, available: list[str], taken: str) -> None:
    assert choose_device(wanted, available) == taken


def test_a_device_that_is_not_there_is_said_with_the_package_that_has_it() -> None:
    version = onnxruntime.__version__
    with pytest.raises(DeviceError) as caught:
        choose_device("cuda", [COREML, CPU])
    assert str(caught.value) == (
        f"device=cuda: ONNX Runtime {version} as installed here has only cpu, coreml; cuda comes with onnxruntime-gpu"
    )
    with pytest.raises(DeviceError, match=r"^device=tpu: expected auto, cpu, cuda, directml, coreml$"):
        choose_device("tpu", [CPU])  # pyright: ignore[reportArgumentType]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """An ONNX Runtime that says it has CUDA; the providers that sessions are asked for."""
    asked: list[list[str]] = []
    real = onnxruntime.InferenceSession

    def session(graph: Path, options: Any, providers: list[str]) -> Any:
        asked.append(providers)
        return real(graph, options, providers=[CPU])  # what ONNX Runtime does where CUDA does not start

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


def test_auto_goes_back_to_the_processor_and_says_so(
    tiny_bundle: Path, tiny_photos: list[Path], pretended: list[list[str]]
) -> None:
    model = seesay.load(tiny_bundle, device="auto", threads=1)
    assert model.device == "cpu"
    expected = "device=cuda: ONNX Runtime could not start it (its driver or its libraries are missing); "
    assert model.engine.note == f"{expected}the processor is used instead"
    assert pretended[0] == [CUDA, CPU], "what CUDA lacks is left to the processor"
    assert [CPU] in pretended
    assert model.caption(tiny_photos[0]).text == seesay.load(tiny_bundle).caption(tiny_photos[0]).text
    with pytest.raises(DeviceError, match=r"^device=cuda: ONNX Runtime could not start it"):
        seesay.load(tiny_bundle, device="cuda")


def test_a_session_that_fails_on_a_device(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: Any, providers: list[str]) -> Any:
        raise RuntimeError("CUDA failure 100:\n no device")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    said = r"^device=cuda: (en|de)coder\.onnx cannot be run on it: CUDA failure 100: no device$"
    with pytest.raises(DeviceError, match=said):
        seesay.load(tiny_bundle, device="cuda")


def test_an_accelerator_runs_in_float32(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs in 8 bits are not even opened; who asks for them is told."""
    opened: list[str] = []
    real = onnxruntime.InferenceSession

    def session(graph: Path, options: Any, providers: list[str]) -> Any:
        opened.append(graph.name)
        made = real(graph, options, providers=[CPU])
        parts = {name: getattr(made, name) for name in ("get_inputs", "get_outputs", "run")}
        return SimpleNamespace(**parts, get_providers=lambda: providers)

    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, DML, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    model = CaptionModel.load(tiny_bundle, device="directml")
    assert (model.device, model.precision, model.engine.note) == ("directml", "float32", None)
    assert sorted(opened) == ["decoder.onnx", "encoder.onnx"]
    said = r"^device=cuda: runs in float32; leave precision=int8 out, or take device=cpu$"
    with pytest.raises(DeviceError, match=said):
        seesay.load(tiny_bundle, "int8", device="cuda")


def test_the_command_line_says_where_it_ran(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tiny_data: Path, pretended: list[list[str]]
) -> None:
    for command in (["caption", tiny_photos[0]], ["score", tiny_photos[0], "--text", "a dog"]):
        done = cli(*command, "--model", tiny_bundle, "--device", "auto")
        assert done.code == 0 and len(done.out.splitlines()) == 1
        assert done.err.startswith("seesay: device=cuda: ONNX Runtime could not start it")
        assert done.err.endswith("; the processor is used instead\n")
        done = cli(*command, "--model", tiny_bundle, "--device", "cuda")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("seesay: device=cuda: ")
    done = cli("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "dev", "--limit", "2")
    assert "\ndevice: cpu\n" in done.out
    assert cli("caption", tiny_photos[0], "--device", "gpu").code == 2


def test_auto_without_an_accelerator(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", CPU])
    model = seesay.load(tiny_bundle, device="auto")
    assert model.device == "cpu"
    assert model.engine.note == ("device=auto: the installed ONNX Runtime has no accelerator, so the processor is used")
    assert seesay.load(tiny_bundle).engine.note is None
