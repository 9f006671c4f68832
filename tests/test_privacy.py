"""Nothing leaves the machine, and nothing stays on it but what the documents name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import write_photo

# A local user look-up goes through AF_UNIX; anything else may reach the network.
NETWORK_SOCKET = re.compile(r"socket\(AF_(?!UNIX|NETLINK)\w+")
Run = Callable[..., str]


def strace(log: Path) -> list[str]:
    """A command that records network and open calls of what follows it; nothing where strace cannot run."""
    command = ["strace", "-f", "-e", "trace=network,openat", "-e", "signal=none", "-o", str(log)]
    if not shutil.which("strace") or subprocess.run([*command, "true"], capture_output=True).returncode:
        return []
    return command


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python with a home, a temporary and a working folder of its own -> what the system calls were."""
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    ours = ("ORT_", "HF_", "XDG_", "SEESAY_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    # Training imports matplotlib where it is installed, by way of torchmetrics; it keeps a list of fonts.
    environment |= {"MPLCONFIGDIR": str(tmp_path / "matplotlib")}

    def run(*arguments: str, **more: str) -> str:
        log = tmp_path / "strace.log"
        command = [*strace(log), sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path / "work", env=environment | more, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return log.read_text() if log.exists() else ""

    return run


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def assert_private(calls: str, folder: Path) -> None:
    assert not NETWORK_SOCKET.findall(calls)
    assert "hsperfdata" not in calls, "Java leaves such a file wherever TMPDIR points"
    assert files_in(folder / "tmp") == []


@pytest.mark.parametrize("code", ["", "seesay.load().caption('photo.png')"], ids=["command", "library"])
def test_captioning_leaves_no_file_and_opens_no_socket(code: str, run: Run, tmp_path: Path) -> None:
    write_photo(tmp_path / "work" / "photo.png", 1)
    calls = run("-c", f"import seesay; {code}") if code else run("-m", "seesay", "caption", "photo.png")
    assert_private(calls, tmp_path)
    assert files_in(tmp_path / "home") == []
    assert files_in(tmp_path / "work") == ["photo.png"]


@pytest.mark.slow
def test_evaluating_leaves_no_file_and_opens_no_socket(run: Run, tiny_bundle, tiny_data, tmp_path: Path) -> None:
    model, data = str(tiny_bundle), str(tiny_data)
    before = files_in(tiny_bundle), files_in(tiny_data)
    calls = run("-m", "seesay", "evaluate", "--model", model, "--data", data, "--split", "dev", "--attention")
    assert_private(calls, tmp_path)
    assert files_in(tmp_path / "home") == files_in(tmp_path / "work") == []
    assert (files_in(tiny_bundle), files_in(tiny_data)) == before


@pytest.mark.slow
def test_training_leaves_the_run_and_the_feature_cache(run: Run, tiny_recipe, tiny_data, tmp_path: Path) -> None:
    values = tiny_recipe.to_dict()
    values["data"]["path"] = [str(tiny_data)]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    calls = run("-m", "seesay", "train", str(tmp_path / "recipe.yaml"), "train.max_steps=2")
    assert_private(calls, tmp_path)
    assert all(name.startswith("runs/tiny/") for name in files_in(tmp_path / "work"))
    cached = [Path(name) for name in files_in(tmp_path / "home")]
    assert cached
    assert all("seesay" in path.parts and "features" in path.parts for path in cached)


@pytest.mark.parametrize("name", ["ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"])
def test_telemetry_is_off_unless_the_user_set_the_variable(name: str, run: Run) -> None:
    run("-c", f"import os, seesay; assert os.environ['{name}'] == '1'")
    run("-c", f"import os, seesay; assert os.environ['{name}'] == '0'", **{name: "0"})
