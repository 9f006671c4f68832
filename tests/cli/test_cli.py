"""The command line, as its users meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, Cli, lines_of, without_packages, write_photo
from PIL import Image

import seesay
from seesay.cli.app import app, app_of
from seesay.cli.writable import refuse_unwritable
from seesay.errors import PhotoError, SeesayError
from seesay.progress import counted


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


# the shell around the verbs


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["seesay", *sys.argv[1:]] + ["--help"]
from seesay.cli import main
try:
    main()
except SystemExit as exit_:
    assert exit_.code in (0, None)
heavy = ("torch", "onnxruntime", "matplotlib", "timm", "numpy", "PIL", "tokenizers", "yaml", "rich.console")
print("loaded:", *(name for name in heavy if name in sys.modules))
"""
    before = os.times()
    said = python(code).stdout
    after = os.times()
    assert said.splitlines()[-1] == "loaded:"
    taken = after.children_user + after.children_system - before.children_user - before.children_system
    assert taken < 1, "measured: 0.1 s of the processor"
    for verb in ("demo", "caption", "data", "train", "evaluate", "compare", "export"):
        assert f"\n  {verb} " in said


@pytest.mark.parametrize("verb", [["demo"], ["caption"], ["data", "check"], ["train"], ["evaluate"], ["export"]])
def test_every_verb_has_help(cli: Cli, verb: list[str]) -> None:
    done = cli(*verb, "--help")
    assert done.code == 0
    assert "Usage: " in done.out
    assert len(done.out.splitlines()) > 5


def test_one_photo_needs_few_libraries(tiny_bundle: Path, tiny_photos: list[Path]) -> None:
    """Each of these takes longer to import than the photo takes to caption."""
    code = f"""
import sys
sys.argv = ["seesay", "caption", {str(tiny_photos[0])!r}, "--model", {str(tiny_bundle)!r}]
from seesay.cli import main
try:
    main()
finally:
    print({{"rich", "yaml", "xml", "platformdirs", "pyarrow", "fsspec", "fastapi", "ray", "torch"}} & {{*sys.modules}})
"""
    done = python(code)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_only_the_command_asked_for_is_built() -> None:
    for name in ("caption", "train", "export"):
        (alone,) = app_of(name).registered_commands
        assert alone.callback is not None
        assert alone.callback.__name__ == name
    assert app_of("data") is app_of("captoin") is app_of("") is app


def test_version_and_python_dash_m(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "seesay", "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{seesay.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["captoin", "x.jpg"], "Did you mean 'caption'?"),
        (["data", "chek", "x"], "Did you mean 'check'?"),
        (["caption"], "which photos? Give files or folders"),
        (["caption", "x.jpg", "--beam", "0"], "--beam"),
        (["caption", "x.jpg", "--bean", "3"], "--bean"),
        (["caption", "x.jpg", "--resume"], "--resume needs --json"),
        (["caption", "x.jpg", "--resume", "--json", "a.jsonl", "--page", "a.html"], "give one of the two"),
        (["evaluate", "--data", "x"], "--model"),
    ],
)
def test_mistyped_commands_end_with_2(cli: Cli, arguments: list[str], said: str) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_errors_are_one_line_and_1(cli: Cli, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg", 1)
    for arguments, said in (
        (["caption", "gone.jpg"], "seesay: no such file or folder: gone.jpg"),
        (["caption", photo, "--model", "gone"], "seesay: model gone: no such folder"),
        (["data", "check", "gone"], "seesay: "),
        (["export", "gone", "out"], "seesay: model gone: no such folder"),
        (["train", "flikr8k"], "Did you mean 'flickr8k'?"),
    ):
        done = cli(*arguments)
        assert done.code == 1
        assert said in done.err
        assert len(done.err.splitlines()) == 1
        assert done.out == ""


def test_mistyped_recipe_keys_are_all_named_before_torch_loads() -> None:
    code = """
import sys
sys.argv = ["seesay", "train", "flickr8k", "train.lrr=1", "batch_size=3"]
from seesay.cli import main
try:
    main()
finally:
    print("torch" in sys.modules)
"""
    done = python(code)
    assert done.returncode == 1
    assert "train.lrr: no such key. Did you mean 'train.lr'?" in done.stderr
    assert "batch_size: no such key. Did you mean 'train.batch_size'?" in done.stderr
    assert done.stdout == "False\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["torch", "lightning"])
def test_missing_extra_is_one_line(missing: str, tmp_path: Path) -> None:
    code = f"""
{without_packages(missing)}
sys.argv = ["seesay", "train", "flickr8k", "data.path=x", {f"out={tmp_path}"!r}]
from seesay.cli import main
main()
"""
    done = python(code)
    assert done.returncode == 1
    needs = f"needs '{missing}', which is not installed: pip install 'seesay[train]'"
    assert done.stderr == f"seesay: seesay train {needs}\n"


def test_other_errors_of_the_system_are_one_line(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "out.png")

    photo = write_photo(tmp_path / "a.jpg", 1)
    monkeypatch.setattr(Image.Image, "save", full)
    done = cli("caption", photo, "--model", tiny_bundle, "--figure", "out.png")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "seesay: [Errno 28] No space left on device: 'out.png'"


@pytest.mark.parametrize("when", ["loading", "working"])
def test_ctrl_c_ends_with_130(when: str) -> None:
    module = "seesay.cli.caption" if when == "working" else "seesay.data.images"
    name = "caption_photos" if when == "working" else "find_photos"
    code = f"""
import signal, sys, time
import seesay.cli.caption, seesay.data.images
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background has it ignored
def wait(*_, **__):
    print("ready", flush=True)
    time.sleep(60)
sys.modules[{module!r}].{name} = wait
sys.argv = ["seesay", "caption", "."]
from seesay.cli import main
main()
"""
    if when == "working":
        code = code.replace("sys.argv", 'sys.modules["seesay.data.images"].find_photos = lambda *_: ["."]\nsys.argv')
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert b"Traceback" not in process.stderr.read()


def test_output_that_nobody_reads_any_more(tiny_bundle: Path, tiny_photos: list[Path]) -> None:
    command = f"{sys.executable} -m seesay caption {tiny_photos[0].parent} --model {tiny_bundle} | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


# caption


def test_caption_prints_and_writes_json(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = cli("caption", *tiny_photos, "--model", tiny_bundle, "--json", out, "--attention")
    assert done.code == 0, done.err
    entries = lines_of(out)
    assert [entry["image"] for entry in entries] == [str(photo) for photo in tiny_photos]
    assert done.out.splitlines() == [f"{entry['image']}: {entry['caption']}" for entry in entries]
    grid = seesay.load(tiny_bundle).bundle.grid
    for entry in entries:
        assert list(entry) == ["image", "id", "caption", "score", "words", "made_by"]
        assert entry["score"] < 0
        assert " ".join(word["text"] for word in entry["words"]) == entry["caption"]
        assert entry["score"] <= sum(word["logprob"] for word in entry["words"]) + 1e-3, "the end has its share"
        for word in entry["words"]:
            assert list(word) == ["text", "logprob", "attention"]
            assert np.shape(word["attention"]) == grid
            assert np.sum(word["attention"]) == pytest.approx(1, abs=1e-3)


def test_caption_without_attention_and_with_another_beam(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    assert cli("caption", tiny_photos[0], "--model", tiny_bundle, "--json", out, "--beam", "1").code == 0
    (entry,) = lines_of(out)
    assert set(entry["words"][0]) == {"text", "logprob"}
    assert entry["caption"] == seesay.load(tiny_bundle).caption(tiny_photos[0], beam=1).text
    done = cli("caption", tiny_photos[0], "--model", tiny_bundle, "--attention")
    assert done.code == 0
    assert "without --json" in done.err


def test_broken_photos_among_good_ones(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out.jsonl"
    folder.mkdir()
    for i, name in enumerate(("a.png", "c.jpg", "e.JPG")):
        write_photo(folder / name, i)
    data = (folder / "c.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(data[: len(data) // 2])
    (folder / "d.jpg").write_text("To whom it may concern")
    (folder / "f.txt").write_text("no photo")
    done = cli("caption", folder, "--model", tiny_bundle, "--json", out)
    assert done.code == 1
    entries = lines_of(out)
    assert [Path(entry["image"]).name for entry in entries] == ["a.png", "b.jpg", "c.jpg", "d.jpg", "e.JPG"]
    assert ["error" in entry for entry in entries] == [False, True, False, True, False]
    assert set(entries[1]) == {"image", "id", "error"} and entries[1]["id"] == "b.jpg"
    assert "damaged" in entries[1]["error"]
    assert "not a picture" in entries[3]["error"]
    assert len(done.out.splitlines()) == 3
    assert "b.jpg: damaged" in done.err
    assert done.err.splitlines()[-1] == "seesay: 2 of 5 photos could not be captioned"


def test_hostile_files_among_good_photos(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out.jsonl"
    (folder / "folder.jpg").mkdir(parents=True)
    names = {write_photo(folder / f"good{i}.jpg", i).name for i in range(4)}
    os.mkfifo(folder / "a.jpg")
    for name in ("wide_178956970x1.png", "tile_40000_in_16x16.tif", "jpeg_600_scans_6000x6000.jpg"):
        if (SHARED / "faults" / name).exists():
            shutil.copy(SHARED / "faults" / name, folder)
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "evil\n\x1b[31m.jpg").write_bytes(b"no photo")
    done = cli(
        "caption", folder, tmp_path / "gone.png", folder, "--model", tiny_bundle, "--json", out, "--page", "p.html"
    )
    assert done.code == 1
    captioned = {Path(entry["image"]).name for entry in lines_of(out) if "caption" in entry}
    failed = {Path(entry["image"]).name for entry in lines_of(out) if "error" in entry}
    assert captioned == names
    assert failed >= {"a.jpg", "gone.jpg", "gone.png", "evil\n\x1b[31m.jpg"}
    assert len(lines_of(out)) == len(captioned) + len(failed)
    assert "\x1b" not in done.out + done.err
    assert len(done.err.splitlines()) == len(failed) + 1, "one line each"
    assert r"evil\n\x1b[31m.jpg: not a picture" in done.err


def test_a_name_without_a_file_is_one_failure_among_the_others(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    names = ["https://example.org/a.jpg", "~/a.jpg", "*.jpg", ""]
    done = cli("caption", *names, tiny_photos[0], "--model", tiny_bundle, "--json", out)
    assert done.code == 1
    assert [entry["image"] for entry in lines_of(out)] == [*names, str(tiny_photos[0])]
    assert done.err.splitlines() == [
        "seesay: https://example.org/a.jpg: no such file "
        "(a URL is not a file, and nothing is fetched: download it first)",
        "seesay: ~/a.jpg: no such file (~ means the home folder only outside quotes)",
        "seesay: *.jpg: no such file (the shell expands a pattern only outside quotes, and if a file matches it)",
        "seesay: '': no such file (an empty name)",
        "seesay: 4 of 5 photos could not be captioned",
    ]


def test_an_empty_name_is_not_the_current_folder(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", 1)
    done = cli("caption", "", "--model", tiny_bundle)
    assert (done.code, done.out) == (1, "")
    assert done.err == "seesay: no such file or folder: '' (an empty name)\n"
    for verb in (["data", "check", ""], ["evaluate", "--model", "m", "--data", ""], ["compare", ""]):
        done = cli(*verb)
        assert done.code == 2
        assert "an empty name" in done.err


def test_a_file_without_permission_is_one_failure(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a mistyped command."""
    good, secret = write_photo(tmp_path / "a.jpg", 1), write_photo(tmp_path / "b.jpg", 2)
    secret.chmod(0)
    access, opened = os.access, Path.open

    def refuse(path: Path, *rest: object, **more: object) -> object:
        if path.name == "b.jpg":
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)  # pyright: ignore

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "b.jpg" and access(path, mode))
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    done = cli("caption", good, secret, "--model", tiny_bundle)
    assert done.code == 1
    assert len(done.out.splitlines()) == 1
    assert f"seesay: {secret}: no permission to read it\n" in done.err


def test_a_photo_given_twice_is_captioned_once(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg", 1)
    done = cli("caption", photo, "a.jpg", tmp_path, "./a.jpg", "--model", tiny_bundle)
    assert (done.code, len(done.out.splitlines())) == (0, 1)


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "<"])
def test_a_photo_from_a_pipe(tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path, name: str) -> None:
    photo, seesay_ = tiny_photos[0], f"{sys.executable} -m seesay caption"
    options = f"--model {tiny_bundle} --json out.jsonl --figure out.png --page out.html"
    command = f"cat {photo} | {seesay_} {name} {options}" if name != "<" else f"{seesay_} <(cat {photo}) {options}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    (entry,) = lines_of(tmp_path / "out.jsonl")
    assert entry["image"] == name if name != "<" else entry["image"].startswith("/dev/fd/")
    assert entry["caption"] == seesay.load(tiny_bundle).caption(photo).text
    assert done.stdout == f"{entry['image']}: {entry['caption']}\n"
    assert (tmp_path / "out.png").exists() and "<figure>" in (tmp_path / "out.html").read_text("utf-8")


def test_standard_input_that_has_no_photo(tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "seesay", "caption", "-", "--model", str(tiny_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 1
    assert "seesay: -: an empty file\n" in done.stderr
    leader, terminal = os.openpty()
    done = subprocess.run(command, capture_output=True, text=True, stdin=terminal, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "seesay: -: standard input has no photo: send one, as in `seesay caption - < photo.jpg`\n"
    os.close(leader)
    os.close(terminal)


def test_json_on_standard_output(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    photo = shutil.copy(tiny_photos[0], tmp_path / "caf\u00e9.png")
    done = cli("caption", photo, tmp_path / "gone.png", "--model", tiny_bundle, "--json", "-")
    assert done.code == 1
    first, second = map(json.loads, done.out.splitlines())
    assert done.out.isascii(), "whatever the terminal's encoding"
    assert first["image"] == str(photo) and first["caption"]
    gone = f"{tmp_path}/gone.png"
    assert second == {"image": gone, "id": gone, "error": f"{gone}: no such file"}
    assert f"seesay: {tmp_path}/gone.png: no such file\n" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["caf\u00e9.png"]
    done = cli("caption", photo, "--model", tiny_bundle, "--json", "-", "--resume")
    assert done.code == 2
    assert "standard output" in done.err


def test_a_photo_cut_short_is_captioned_with_a_warning(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg", 1)
    photo.write_bytes(photo.read_bytes()[:-2])
    done = cli("caption", photo, "--model", tiny_bundle, "--json", "out.jsonl")
    assert done.code == 0
    warning = "cut short: the end of the file is missing, but nothing of the picture"
    assert done.err == f"seesay: {photo}: {warning}\n"
    (entry,) = lines_of(tmp_path / "out.jsonl")
    assert entry["warning"] == warning
    assert done.out == f"{photo}: {entry['caption']}\n"


def test_pictures_that_are_passed_over_are_said(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", 1)
    for name in ("b.nef", "c.NEF", "d.svg"):
        (tmp_path / name).touch()
    done = cli("caption", tmp_path, "--model", tiny_bundle)
    assert done.code == 0
    said = "seesay: passed over 3 pictures of kinds that are not read here: 2 camera RAW, 1 SVG\n"
    assert done.err == said
    done = cli("caption", tmp_path / "b.nef", tmp_path / "a.jpg", "--model", tiny_bundle)
    assert done.code == 1
    assert f"{tmp_path / 'b.nef'}: an empty file" in done.err


def test_a_figure_that_cannot_be_drawn_costs_no_caption(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its photo needs more memory at its full size, or is gone."""
    from seesay.data import images

    for i in range(3):
        write_photo(tmp_path / f"{i}.jpg", i)
    whole = images.open_photo

    def short_of_memory(source: Path, enough: int | None = None) -> Image.Image:
        if Path(source).name == "1.jpg":
            raise PhotoError("too large for this machine's memory", str(source))
        return whole(source, enough)

    monkeypatch.setattr(images, "open_photo", short_of_memory)
    done = cli("caption", ".", "--model", tiny_bundle, "--json", "o.jsonl", "--figure", "f.png", "--page", "p.html")
    assert done.code == 1
    assert [entry["image"] for entry in lines_of(tmp_path / "o.jsonl") if "caption" in entry] == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
    ]
    assert {path.name for path in tmp_path.glob("*.png")} == {"f-0.png", "f-2.png"}
    assert "seesay: f-1.png: not drawn: 1.jpg: too large for this machine's memory\n" in done.err
    page = (tmp_path / "p.html").read_text("utf-8")
    assert page.count("<figure>") == 2
    assert "1.jpg: too large" in page


def test_empty_folder(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("caption", tmp_path / "empty", "--model", tiny_bundle)
    assert done.code == 1
    assert "no photos found in" in done.err


def test_name_that_is_no_text(tiny_bundle: Path, tmp_path: Path) -> None:
    """A file name may be any bytes; JSON holds it so that it can be opened again."""
    photo = os.fsencode(write_photo(tmp_path / "a.png", 3))
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")  # noqa: PTH118
    try:
        os.rename(photo, name)  # noqa: PTH104
    except OSError:
        pytest.skip("this file system wants text")
    out, strict = tmp_path / "out.jsonl", {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "seesay", "caption", name, "--model", tiny_bundle, "--json", out]
    for more in ([], ["--resume"]):
        done = subprocess.run([*command, *more], capture_output=True, env=strict)
        assert done.returncode == 0, done.stderr
        (entry,) = lines_of(out)
        assert os.fsencode(entry["image"]) == name


def test_resume_leaves_out_what_is_done(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    out, todo = tmp_path / "out.jsonl", tiny_photos[:5]
    assert cli("caption", *todo, "--model", tiny_bundle, "--json", out).code == 0
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    failure = json.dumps({"image": str(todo[2]), "error": "gone"}).encode() + b"\n"
    for torn in (
        [lines[0], lines[1], failure, b'{"image": "\xc3'],  # killed within a letter
        [lines[0], b"\n", lines[1], lines[1], lines[3][:-1]],
        [],
    ):
        out.write_bytes(b"".join(torn))
        done = cli("caption", *todo, "--model", tiny_bundle, "--json", out, "--resume")
        assert done.code == 0
        assert out.read_bytes() == whole
        assert len(done.out.splitlines()) == (3 if torn else 5)
    done = cli("caption", *todo, "--model", tiny_bundle, "--json", out, "--resume")
    assert (done.code, done.out) == (0, "")
    assert out.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [out], "no scratch file is left"


@pytest.mark.parametrize(
    "text",
    ["7\n", "[1]\n", '"caption"\n', '{"caption": "x"}\n', '{"image": ["x"], "caption": "y"}\n', "# notes", "\xe9\n"],
)
def test_resume_leaves_the_files_of_others_alone(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path, text: str
) -> None:
    out, good = tmp_path / "out.jsonl", '{"image": "a.jpg", "error": "gone"}\n'
    before = (good + text).encode("latin-1")
    out.write_bytes(before)
    done = cli("caption", tiny_photos[0], "--model", tiny_bundle, "--json", out, "--resume")
    assert done.code == 1
    assert f"{out}:2: no line that `seesay caption --json` wrote" in done.err
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out], "no scratch file is left"


def test_what_the_json_has_is_drawn(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops a run, --resume leaves no figure out, and no half of one is there."""
    import seesay.explain

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out.jsonl"
    asked = ("caption", *tiny_photos[:2], "--model", tiny_bundle, "--json", out, "--figure", tmp_path / "out.png")
    with monkeypatch.context() as patched:
        patched.setattr(seesay.explain, "draw_figure", full)
        assert cli(*asked).code == 1
    assert cli(*asked, "--resume").code == 0
    assert len(lines_of(out)) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl", *(f"out-{p.stem}.png" for p in tiny_photos[:2])}


def test_without_resume_the_json_is_written_anew(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    for photo in tiny_photos[:2]:
        cli("caption", photo, "--model", tiny_bundle, "--json", out)
    assert [entry["image"] for entry in lines_of(out)] == [str(tiny_photos[1])]


def test_figures_of_photos_with_one_name(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    for i, folder in enumerate(("x", "y", "z")):
        (tmp_path / folder).mkdir()
        write_photo(tmp_path / folder / ("A.png" if folder == "z" else "a.png"), i, (60 + 20 * i, 50))
    done = cli("caption", "x", "y", "z", "--model", tiny_bundle, "--figure", "out.png", "--json", "out.jsonl")
    assert done.code == 0, done.err
    names = {"out-a.png", "out-a-2.png", "out-A-3.png"}
    assert {path.name for path in tmp_path.glob("out*.png")} == names
    assert len({(tmp_path / name).read_bytes() for name in names}) == 3
    first, second = (tmp_path / "out-a.png").read_bytes(), (tmp_path / "out-a-2.png").read_bytes()
    kept = (tmp_path / "out.jsonl").read_text("utf-8").splitlines(keepends=True)[0]
    (tmp_path / "out.jsonl").write_text(kept, "utf-8")
    (tmp_path / "out-a-2.png").unlink()
    assert (
        cli(
            *(
                "caption",
                "x",
                "y",
                "z",
                "--model",
                tiny_bundle,
                "--figure",
                "out.png",
                "--json",
                "out.jsonl",
                "--resume",
            )
        ).code
        == 0
    )
    assert (tmp_path / "out-a.png").read_bytes() == first, "a resumed run must not draw over it"
    assert (tmp_path / "out-a-2.png").read_bytes() == second


def test_one_figure_and_a_page(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg", 1)
    (tmp_path / "b.jpg").write_bytes(b"")
    assert cli("caption", photo, "--model", tiny_bundle, "--figure", "out.png").code == 0
    with Image.open("out.png") as figure:
        assert figure.format == "PNG"
    assert [path.name for path in tmp_path.glob("*.png")] == ["out.png"]
    assert cli("caption", tmp_path, "--model", tiny_bundle, "--page", "out.html").code == 1
    page = (tmp_path / "out.html").read_text("utf-8")
    caption = seesay.load(tiny_bundle).caption(photo)
    assert f'alt="{caption.text}"' in page
    assert "b.jpg: an empty file" in page


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--json", "no/such/out.jsonl"], "its folder"),
        (["--json", "."], "it is a folder"),
        (["--figure", "out"], "expected a name that ends in .png"),
        (["--figure", "out.pdf"], "expected a name that ends in .png"),
        (["--figure", "a.jpg"], "it is one of the photos"),
        (["--page", "no/out.html"], "does not exist"),
    ],
)
def test_outputs_are_checked_before_the_work(cli: Cli, tmp_path: Path, option: list[str], said: str) -> None:
    data = write_photo(tmp_path / "a.jpg", 1).read_bytes()
    done = cli("caption", "a.jpg", "--model", "never opened", *option)
    assert done.code == 1
    assert said in done.err
    assert (tmp_path / "a.jpg").read_bytes() == data


def test_outputs_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SeesayError, match=r"out\.json: cannot be written: no permission"):
        refuse_unwritable(None, tmp_path / "out.json")


@pytest.mark.parametrize("second", ["--page", "--figure"])
def test_two_outputs_of_one_name(cli: Cli, tmp_path: Path, second: str) -> None:
    write_photo(tmp_path / "a.jpg", 1)
    (tmp_path / "o.png").write_text("before")
    (tmp_path / "link.png").symlink_to("o.png")
    done = cli("caption", "a.jpg", "--model", "never opened", "--json", "o.png", second, "link.png")
    assert done.code == 1
    assert done.err == "seesay: o.png: cannot be written: another output has the same name; give each its own\n"
    assert (tmp_path / "o.png").read_text() == "before"


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--model", "m", "--data", "d", "--json", "o", "--report", "o"],
        ["compare", "run", "--csv", "o", "--markdown", "./o"],
    ],
)
def test_two_outputs_of_one_name_in_other_commands(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.code == 1
    assert "o: cannot be written: another output has the same name" in done.err


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (["--beam", "1"], ["--beam", "2"], "beam 1 (now 2)"),
        (["--precision", "float32"], ["--precision", "int8"], "precision float32 (now"),
        (["--attention"], [], "attention True (now False)"),
    ],
)
def test_resume_does_not_mix_what_was_made_otherwise(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path, before: list[str], now: list[str], said: str
) -> None:
    out = tmp_path / "out.jsonl"
    asked = ("caption", *tiny_photos[:2], "--model", tiny_bundle, "--json", out)
    assert cli(*asked, *before).code == 0
    kept = out.read_bytes()
    done = cli(*asked, tiny_photos[2], *now, "--resume")
    assert done.code == 1
    assert f"{out}:1: was made with {said}" in done.err
    assert "give the same options, another --json file, or leave --resume out" in done.err
    assert out.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [out]
    assert cli(*asked, tiny_photos[2], *before, "--resume").code == 0
    assert len(lines_of(out)) == 3


def test_resume_does_not_mix_models(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    from seesay.bundle.format import write_manifest

    other, out = tmp_path / "other", tmp_path / "out.jsonl"
    shutil.copytree(tiny_bundle, other)
    assert cli("caption", tiny_photos[0], "--model", tiny_bundle, "--json", out).code == 0
    assert cli("caption", *tiny_photos[:2], "--model", other, "--json", out, "--resume").code == 0, "the same model"
    scores = other / "scores.json"
    scores.write_text(json.dumps({"dev": {}}))
    write_manifest(other, seesay.load(tiny_bundle).bundle.grid)
    done = cli("caption", *tiny_photos[:3], "--model", other, "--json", out, "--resume")
    assert done.code == 1
    assert f"{out}:1: was made with digest " in done.err


def test_resume_goes_on_with_lines_that_do_not_say_how_they_were_made(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    asked = ("caption", *tiny_photos[:2], "--model", tiny_bundle, "--json", out)
    assert cli(*asked).code == 0
    lines = [{key: value for key, value in entry.items() if key != "made_by"} for entry in lines_of(out)]
    out.write_text(json.dumps(lines[0]) + "\n")
    done = cli(*asked, "--resume")
    assert done.code == 0
    assert f"note: {out}: does not say which model made its captions" in done.err
    assert [set(entry) ^ {"made_by"} == set(lines[0]) for entry in lines_of(out)] == [False, True]


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_one_run_writes_a_json_file(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path, more: list[str]
) -> None:
    """The second run into it says so at once; what is left by one that died is no hindrance."""
    from seesay.writing import only_writer

    out, lock = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.lock"
    out.write_text("")
    with only_writer(lock, ""):
        done = cli("caption", tiny_photos[0], "--model", "never opened", "--json", out, *more)
    assert done.code == 1
    assert done.err == f"seesay: {out}: another process is writing to it; wait for it, or give another --json file\n"
    lock.touch()
    assert cli("caption", tiny_photos[0], "--model", tiny_bundle, "--json", out, *more).code == 0
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has such a device")
def test_a_full_disk_is_said_with_the_file(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path]) -> None:
    done = cli("caption", tiny_photos[0], "--model", tiny_bundle, "--json", "/dev/full")
    assert done.code == 1
    assert done.err == "seesay: /dev/full: cannot be written: No space left on device\n"
    command = [sys.executable, "-m", "seesay", "--version"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        written = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert written.returncode == 1
    assert written.stderr == "seesay: [Errno 28] No space left on device: 'standard output'\n"


def test_demo_writes_a_page(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("demo", "--model", tiny_bundle)
    assert done.code == 0, done.err
    assert "Open seesay-demo.html" in done.out
    assert (tmp_path / "seesay-demo.html").read_text("utf-8").count("<figure>") == 5


# data check, evaluate, export


def test_data_check(cli: Cli, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.progress.LOG_SECONDS", 0.0)
    done = cli("data", "check", tiny_data)
    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("opening photos: 17/17")
    assert done.out.splitlines()[0] == "layout: flickr8k"
    assert "  train: 12 images" in done.out
    assert done.out.splitlines()[-1] == "usable"
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_data, damaged)
    (damaged / "Images" / "photo03.jpg").write_bytes(b"no photo")
    done = cli("data", "check", damaged)
    assert done.code == 1
    assert "photo03.jpg: photo left out: not a picture" in done.out
    for i in range(5):
        (damaged / "Images" / f"photo{i:02}.jpg").write_bytes(b"no photo")
    done = cli("data", "check", damaged)
    assert done.code == 1
    assert "not usable: 5 of 17 images cannot be read" in done.out


def test_progress_of_work_that_counts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    monkeypatch.setattr("seesay.progress.LOG_SECONDS", 0.0)
    log, terminal = io.StringIO(), io.StringIO()
    with counted("opening", Console(file=log)) as report:
        for done in (1, 2, 5):
            report(done, 5)
    assert [line.split(",")[0] for line in log.getvalue().splitlines()] == [f"opening: {n}/5" for n in (1, 2, 5)]
    with counted("opening", Console(file=terminal, force_terminal=True)) as report:
        report(1, 4)
        report(4, 4)
    assert "4/4" in terminal.getvalue()
    with counted("nothing", Console(file=log)):
        pass


def test_evaluate(cli: Cli, tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    done = cli(
        *("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "dev", "--beam", "2"),
        *("--attention", "--json", "scores.json"),
    )
    assert done.code == 0, done.err
    assert re.match(
        rf"tiny on dev of {re.escape(str(tiny_data))}, beam 2, encoder in float32, decoder in (int8|float32)\nBLEU-1",
        done.out,
    )
    for said in ("CIDEr", "not comparable with published", "words a caption", "attention between words: 0."):
        assert said in done.out
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert scores["split"] == "dev"
    assert scores["images"] == 5
    assert scores["scores"]["comparable"] is False
    assert set(scores["attention"]) == {"entropy", "between_words", "between_photos"}
    assert len(scores["captions"]) == 5
    assert set(next(iter(scores["per_photo"].values()))) == {"caption", "cider"}
    piped = cli("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "dev", "--beam", "2", "--json", "-")
    assert {**scores, "attention": None} == {**json.loads(piped.out), "attention": None}
    assert "words a caption" in piped.err
    again = cli("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "val", "--limit", "2")
    assert again.code == 0
    assert "\n2 images" in again.out
    assert "attention" not in again.out


def test_evaluate_says_how_sentences_were_chosen(
    cli: Cli, calibrated_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    asked = ("evaluate", "--model", calibrated_bundle, "--data", tiny_data, "--split", "train", "--json", "scores.json")
    model = seesay.load(calibrated_bundle)
    for option, how in (((), "confidence"), (("--likeliest",), "log-probability")):
        done = cli(*asked, *option)
        assert done.code == 0, done.err
        assert ("chosen by confidence" in done.out) == (how == "confidence")
        scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
        assert scores["chosen_by"] == how
        photo = tiny_data / "Images" / "photo00.jpg"
        caption = model.caption(photo, likeliest=how != "confidence")
        assert scores["captions"][photo.stem] == caption.text


def test_evaluate_writes_a_page(cli: Cli, tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "train")
    done = cli(*arguments, "--report", "page.html", "--report-photos", "3", "--limit", "11")
    assert done.code == 0, done.err
    assert done.out.endswith("\n\npage.html\n")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert f"<h1>tiny on train of {tiny_data.name}</h1>" in page
    assert page.count("<figure>") == page.count("data:image/jpeg") == 4 * 3
    done = cli(*arguments, "--report", "no/page.html")
    assert done.code == 1 and "does not exist" in done.err
    assert cli(*arguments, "--report", "page.html", "--report-photos", "0").code == 2


def test_limit_leaves_the_training_captions_whole(cli: Cli, tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    from conftest import SENTENCES

    from seesay.data.tokens import split_words

    arguments = ("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "dev")
    assert cli(*arguments, "--limit", "1", "--json", "scores.json").code == 0
    found = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    [caption] = found["captions"].values()
    training = {word for sentence in SENTENCES for word in split_words(sentence)}
    assert found["statistics"]["vocabulary_share"] == len(training & set(split_words(caption))) / len(training)


def test_evaluate_says_whether_attention_points(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    from seesay.data.shapes import write_shapes

    write_shapes(tmp_path / "shapes", train=1, dev=1, test=3, seed=3)
    arguments = ("evaluate", "--model", tiny_bundle, "--data", "shapes", "--json", "scores.json")
    done = cli(*arguments, "--attention")
    assert done.code == 0, done.err
    assert "\npointing accuracy: " in done.out
    found = json.loads((tmp_path / "scores.json").read_text("utf-8"))["pointing"]
    assert set(found) == {"accuracy", "chance", "nouns", "wrong", "ambiguous", "pictures"}
    assert "pointing" not in cli(*arguments).out


def test_evaluate_says_so_where_the_model_was_trained_on_other_splits(
    cli: Cli, tiny_bundle: Path, tiny_data: Path
) -> None:
    asked = ("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "dev")
    done = cli(*asked, "--splits", "0.5/0.4/0.1")
    assert done.code == 0
    assert "trained with data.splits=auto, this is with --splits 0.5/0.4/0.1" in done.err
    assert "note" not in cli(*asked).err


def test_evaluate_on_a_split_that_is_not_there(cli: Cli, tiny_bundle: Path, tiny_data: Path) -> None:
    done = cli("evaluate", "--model", tiny_bundle, "--data", tiny_data)
    assert done.code == 1
    assert done.err == "seesay: split 'test': not in this data; it has: train (12 photos), dev (5 photos)\n"
    done = cli("evaluate", "--model", tiny_bundle, "--data", tiny_data, "--split", "dev", "--json", "no/scores.json")
    assert done.code == 1
    assert "does not exist" in done.err


def test_export(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "graphs"
    for _ in range(2):  # an earlier export is replaced
        done = cli("export", tiny_bundle, out)
        assert (done.code, done.out) == (0, f"{out}\n")
    assert {"encoder.onnx", "decoder.onnx", "weights.safetensors", "README.md"} <= {path.name for path in out.iterdir()}
    (out / "mine.txt").touch()
    done = cli("export", tiny_bundle, out)
    assert done.code == 1
    assert "is no earlier export" in done.err
    assert (out / "mine.txt").exists()


def test_one_jpeg_loads_only_what_it_uses() -> None:
    """The other formats of Pillow, progress bars and numpy's own tests would double the time of start-up."""
    code = """
import sys
from seesay.assets import demo_photos
sys.argv = ["seesay", "caption", str(demo_photos()[0])]
from seesay.cli import main
try:
    main()
except SystemExit:
    pass
unused = ("rich.progress", "PIL.PdfParser", "numpy.f2py", "array_api_compat.numpy", "torch")
print(*(name for name in unused if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    caption, loaded = done.stdout.splitlines()
    assert "astronaut.jpg: " in caption
    assert loaded == ""
