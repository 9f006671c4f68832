"""`seesay caption`: photos in, lines, JSON, figures and a page out, as each photo is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Caption, Failure
from seesay.cli.outputs import refuse_unwritable
from seesay.cli.pipes import Pipe
from seesay.errors import PhotoError, SeesayError, printable
from seesay.writing import written_whole

if TYPE_CHECKING:
    from PIL import Image

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
    """
    from seesay.runtime import CaptionModel

    pipes = pipes or {}
    figures = _figure_files(figure, photos) if figure else {}
    to_stdout = str(json_out) == "-"
    refuse_unwritable(None if to_stdout else json_out, page, *figures.values(), inputs=map(Path, photos))
    done = _captioned_before(json_out) if resume and json_out else set()
    todo = [photo for photo in photos if str(photo) not in done]
    captioner = CaptionModel.load(model, threads, precision)
    results = captioner.caption_many([pipes.get(str(photo), photo) for photo in todo], beam=beam)
    results = _counted(results, len(photos), len(photos) - len(todo))
    results = _printed(results, captions=not to_stdout)
    undrawn: list[Path] = []
    if figures:
        results = _drawn(results, figures, pipes, undrawn)
    if json_out:  # last, as what stands there is what --resume leaves out
        results = _as_json(results, json_out, attention, append=bool(done))
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


def _as_json(
    results: Iterable[Caption | Failure], path: Path, attention: bool, append: bool
) -> Iterator[Caption | Failure]:
    to_stdout = str(path) == "-"
    # a file name that is no text is written as JSON escapes it; standard output may be a terminal in any encoding
    opened = path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace") if not to_stdout else None
    with opened or nullcontext(sys.stdout) as file:
        for result in results:
            entry = result.to_dict() if isinstance(result, Failure) else result.to_dict(attention)
            file.write(json.dumps(entry, ensure_ascii=to_stdout) + "\n")
            file.flush()
            yield result


def _captioned_before(path: Path) -> set[str]:
    """Photos that an earlier run captioned; a last line torn by a kill, and failures, are dropped from the file.

    Raises:
        SeesayError: a line is none that `_as_json` writes, so the file is somebody else's.
    """
    if not path.exists():
        return set()
    kept: set[str] = set()
    with written_whole(path) as scratch, path.open("rb") as old, scratch.open("wb") as new:
        for number, line in enumerate(old, 1):  # with attention it may be larger than memory
            if not line.endswith(b"\n") and line.startswith(LINE_START[: len(line)]):
                break
            if not line.strip():
                continue
            image, captioned = _line(line, f"{path}:{number}")
            if captioned and image not in kept:
                kept.add(image)
                new.write(line)
    return kept


def _line(line: bytes, where: str) -> tuple[str, bool]:
    """(the photo of a line of the JSON, whether it was captioned)"""
    try:
        entry = json.loads(line)
        if isinstance(entry["image"], str) and ("caption" in entry or "error" in entry):
            return entry["image"], "caption" in entry
    except (ValueError, KeyError, TypeError):
        pass
    raise SeesayError(f"{where}: no line that `seesay caption --json` wrote; --resume goes on with such a file only")


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
                with written_whole(figure) as scratch:
                    draw_figure(photo, result).save(scratch)
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
