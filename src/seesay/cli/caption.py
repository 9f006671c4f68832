"""`seesay caption`: photos in, lines, JSON, figures and a page out, as each photo is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from seesay.caption import Caption, Failure
from seesay.cli.outputs import STANDARD_OUTPUT, refuse_unwritable
from seesay.cli.pipes import Pipe
from seesay.errors import PhotoError, SeesayError, printable
from seesay.writing import is_stream, naming, only_writer, write_image, written_whole

if TYPE_CHECKING:
    from PIL import Image

    from seesay.runtime import CaptionModel
    from seesay.runtime.engine import Precision

LINE_START = b'{"image": '
FIGURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def caption_photos(
    photos: Sequence[Path | str],
    model: str | None = None,
    beam: int | None = None,
    json_out: Path | None = None,
    attention: bool = False,
    figure: Path | None = None,
    page: Path | None = None,
    resume: bool = False,
    precision: Precision = "auto",
    threads: int | None = None,
    pipes: Mapping[str, Pipe] | None = None,
) -> int:
    """Caption photos and write what is asked for; the number of photos that failed.

    Args:
        photos: files, and names of `pipes`.
        model: bundle folder, packaged name, or None.
        beam: None takes the model's own.
        json_out: one JSON object a line, each written as soon as it is known; "-" is standard output, which
            then has nothing else.
        attention: with each word's map in the JSON.
        figure: a picture file; for several photos its name is followed by each photo's.
        page: one self-contained HTML page.
        resume: leave out photos that `json_out` has a caption of.
        precision: as for `seesay.load`.
        threads: cores to use; None takes every one that the process may run on.
        pipes: photos that are no files, by name.

    Raises:
        BusyError: another process writes to `json_out`.
        SeesayError: an output cannot be written, or `json_out` cannot be gone on with.
    """
    pipes = pipes or {}
    figures = _figure_files(figure, photos) if figure else {}
    refuse_unwritable(json_out, page, *figures.values(), inputs=map(Path, photos))
    with _only_writer(json_out):
        return _write_all(photos, model, beam, json_out, attention, figures, page, resume, precision, threads, pipes)


def _only_writer(json_out: Path | None) -> AbstractContextManager[object]:
    if json_out in (None, STANDARD_OUTPUT) or is_stream(json_out):
        return nullcontext()
    target = json_out.resolve()
    busy = f"{json_out}: another process is writing to it; wait for it, or give another --json file"
    return only_writer(target.with_name(f".{target.name}.lock"), busy)


def _write_all(
    photos: Sequence[Path | str],
    model: str | None,
    beam: int | None,
    json_out: Path | None,
    attention: bool,
    figures: Mapping[str, Path],
    page: Path | None,
    resume: bool,
    precision: Precision,
    threads: int | None,
    pipes: Mapping[str, Pipe],
) -> int:
    from seesay.runtime import CaptionModel

    captioner = CaptionModel.load(model, threads, precision)
    made_by = _made_by(captioner, beam)
    done = _captioned_before(json_out, made_by, attention) if resume and json_out else set()
    todo = [photo for photo in photos if str(photo) not in done]
    results = captioner.caption_many([pipes.get(str(photo), photo) for photo in todo], beam=beam)
    results = _counted(results, len(photos), len(photos) - len(todo))
    results = _printed(results, captions=json_out != STANDARD_OUTPUT)
    undrawn: list[Path] = []
    if figures:
        results = _drawn(results, figures, pipes, undrawn)
    if json_out:  # last, as what stands there is what --resume leaves out
        results = _as_json(results, json_out, made_by, attention, append=bool(done))
    failed = 0
    kept: list[Caption | Failure] = []
    for result in results:
        failed += isinstance(result, Failure)
        if page:
            kept.append(result)
    if page:
        _write_page(kept, page, pipes)
    return failed + len(undrawn)


def _counted(results: Iterable[Caption | Failure], total: int, done: int) -> Iterator[Caption | Failure]:
    if total < 2 or sys.stdout.isatty():  # captions scroll by on a terminal; a bar helps where they go elsewhere
        yield from results
        return
    from rich.console import Console  # not for one photo: it is slow to load

    from seesay.progress import progress

    with progress("captioning", total, Console(stderr=True), done) as advance:
        for result in results:
            advance()
            yield result


def _printed(results: Iterable[Caption | Failure], captions: bool) -> Iterator[Caption | Failure]:
    for result in results:
        if isinstance(result, Failure):
            _complain(result.error)
        else:
            if result.warning:
                _complain(f"{printable(result.image)}: {result.warning}")
            if captions:
                print(f"{printable(result.image)}: {printable(result.text)}", flush=True)
        yield result


def _complain(text: str) -> None:
    print(f"seesay: {printable(text)}", file=sys.stderr)


def _made_by(captioner: CaptionModel, beam: int | None) -> dict[str, Any]:
    """What a caption depends on besides the photo; each line of the JSON says it, so that --resume can compare."""
    encoder, decoder = captioner.encoder_precision, captioner.precision
    return {
        "model": captioner.bundle.name,
        "digest": captioner.bundle.digest,
        "beam": beam or captioner.bundle.search.beam,
        "precision": decoder if encoder == decoder else f"{encoder}, {decoder}",
    }


def _as_json(
    results: Iterable[Caption | Failure], path: Path, made_by: Mapping[str, Any], attention: bool, append: bool
) -> Iterator[Caption | Failure]:
    to_stdout = path == STANDARD_OUTPUT  # which may be a terminal in any encoding
    with nullcontext(sys.stdout) if to_stdout else _opened(path, append) as file:
        for result in results:
            failed = isinstance(result, Failure)
            entry = result.to_dict() if failed else {**result.to_dict(attention), "made_by": made_by}
            with naming(path):
                file.write(json.dumps(entry, ensure_ascii=to_stdout) + "\n")
                file.flush()
            yield result


@contextmanager
def _opened(path: Path, append: bool) -> Iterator[TextIO]:
    """A file of lines; a file name that is not text is written as JSON escapes it."""
    with naming(path):
        file = path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace")
    try:
        yield file
    finally:
        with naming(path):  # closing tries once more to write what a full disk did not take
            file.close()


def _captioned_before(path: Path, made_by: Mapping[str, Any], attention: bool) -> set[str]:
    """Photos that an earlier run captioned; a last line torn by a kill, and failures, are dropped from the file.

    Raises:
        SeesayError: a line was not written by `_as_json`, so the file is somebody else's; or it was, but by another
            model or with other options than `made_by` and `attention`. The file stays as it was.
    """
    if is_stream(path):
        raise SeesayError(f"{path}: --resume goes on with a file only")
    if not path.exists():
        return set()
    kept: set[str] = set()
    says_how = True
    with written_whole(path) as scratch, path.open("rb") as old, scratch.open("wb") as new:
        for number, line in enumerate(old, 1):  # with attention it may be larger than memory
            if not line.endswith(b"\n") and line.startswith(LINE_START[: len(line)]):
                break
            if not line.strip():
                continue
            entry = _entry(line, f"{path}:{number}")
            if "caption" in entry and entry["image"] not in kept:
                says_how &= _refuse_others(entry, made_by, attention, f"{path}:{number}")
                kept.add(entry["image"])
                new.write(line)
    if not says_how:
        _complain(f"note: {path}: does not say which model made its captions")
    return kept


def _entry(line: bytes, where: str) -> dict[str, Any]:
    """A line of the JSON."""
    try:
        entry = json.loads(line)
        if isinstance(entry["image"], str) and ("caption" in entry or "error" in entry):
            return entry
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise SeesayError(f"{where}: no line that `seesay caption --json` wrote; --resume goes on with such a file only")


def _refuse_others(entry: Mapping[str, Any], made_by: Mapping[str, Any], attention: bool, where: str) -> bool:
    """Refuse to add to captions that were made otherwise; False for a line of an early version, which does not say."""
    before = entry.get("made_by")
    was = dict(before) if isinstance(before, dict) else {}
    if (words := entry.get("words")) and isinstance(words, list):
        was["attention"] = "attention" in words[0]
    now = {**made_by, "attention": attention}
    changed = [key for key in now if key in was and was[key] != now[key]]
    if "digest" not in changed and "model" in changed:
        changed.remove("model")  # the same model under another name
    if changed:
        said = ", ".join(f"{key} {printable(str(was[key])[:40])} (now {printable(now[key])})" for key in changed)
        raise SeesayError(
            f"{where}: was made with {said}; give the same options, another --json file, or leave --resume out to "
            "begin anew"
        )
    return before is not None


def _drawn(
    results: Iterable[Caption | Failure], figures: Mapping[str, Path], pipes: Mapping[str, Pipe], undrawn: list[Path]
) -> Iterator[Caption | Failure]:
    """Draw each caption's figure; `undrawn` is told of figures whose photos cannot be opened at their full size."""
    from seesay.data.images import open_photo
    from seesay.explain import draw_figure

    for result in results:
        if isinstance(result, Caption) and result.image is not None:
            figure = figures[result.image]
            try:
                photo = open_photo(pipes.get(result.image, result.image))
            except PhotoError as error:
                undrawn.append(figure)
                _complain(f"{figure}: not drawn: {error}")
            else:
                write_image(figure, draw_figure(photo, result))
        yield result


def _figure_files(path: Path, photos: Sequence[Path | str]) -> dict[str, Path]:
    """The figure of each photo: out.png for one, else out-NAME.png, numbered where folders hold photos of one name.

    Raises:
        SeesayError: no picture can be written under such a name.
    """
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise SeesayError(f"{path}: cannot be written: expected a name that ends in {', '.join(FIGURE_SUFFIXES)}")
    names = list(dict.fromkeys(map(str, photos)))
    if len(names) == 1:
        return {names[0]: path}
    files: dict[str, Path] = {}
    used: set[str] = set()
    for name in names:
        stem = f"{path.stem}-{Path(name).stem}"
        numbered = (f"{stem}-{number}" for number in count(2))
        free = next(stem for stem in chain([stem], numbered) if stem.casefold() not in used)
        used.add(free.casefold())  # some file systems know one case only
        files[name] = path.with_stem(free)
    return files


def _write_page(results: Sequence[Caption | Failure], path: Path, pipes: Mapping[str, Pipe]) -> None:
    from seesay.data.images import open_photo
    from seesay.explain import write_page

    def items() -> Iterator[tuple[Image.Image | None, Caption]]:
        for result in results:
            if isinstance(result, Failure):
                yield None, Caption(result.error, 0.0, (), result.image)
                continue
            try:
                yield open_photo(pipes.get(str(result.image), str(result.image))), result
            except PhotoError as error:
                yield None, Caption(str(error), 0.0, (), result.image)

    write_page(path, items())
