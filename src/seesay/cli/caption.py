"""`seesay caption`: photos in, lines, JSON, figures and a page out, as each photo is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from seesay.caption import Caption, Failure
from seesay.errors import SeesayError
from seesay.progress import progress


def caption_photos(
    photos: Sequence[Path],
    model: str | None = None,
    beam: int | None = None,
    json_out: Path | None = None,
    attention: bool = False,
    figure: Path | None = None,
    page: Path | None = None,
    resume: bool = False,
) -> int:
    """Caption photos and write what is asked for; the number of photos that failed.

    Args:
        photos: files.
        model: bundle folder, packaged name, or None.
        beam: None takes the model's own.
        json_out: one JSON object a line, each written as soon as it is known.
        attention: with each word's map in the JSON.
        figure: a PNG; for several photos its name is followed by each photo's.
        page: one self-contained HTML page.
        resume: leave out photos that `json_out` has a caption of.
    """
    from seesay.runtime import CaptionModel

    _refuse_unwritable(json_out, figure, page)
    done = _captioned_before(json_out) if resume else set()
    todo = [photo for photo in photos if str(photo) not in done]
    captioner = CaptionModel.load(model)
    results = _counted(captioner.caption_many(todo, beam=beam), len(photos), len(photos) - len(todo))
    results = _printed(results)
    if json_out:
        results = _as_json(results, json_out, attention, append=bool(done))
    if figure:
        results = _drawn(results, figure, several=len(photos) > 1)
    failed = 0
    kept: list[Caption | Failure] = []
    for result in results:
        failed += isinstance(result, Failure)
        if page:
            kept.append(result)
    if page:
        _write_page(kept, page)
    return failed


def _counted(results: Iterable[Caption | Failure], total: int, done: int) -> Iterator[Caption | Failure]:
    # captions scroll by on a terminal; a bar helps where they go elsewhere
    shown = total if total > 1 and not sys.stdout.isatty() else 0
    with progress("captioning", shown, Console(stderr=True), done) as advance:
        for result in results:
            advance()
            yield result


def _printed(results: Iterable[Caption | Failure]) -> Iterator[Caption | Failure]:
    for result in results:
        if isinstance(result, Failure):
            print(f"seesay: {result.error}", file=sys.stderr)
        else:
            print(f"{result.image}: {result.text}", flush=True)
        yield result


def _as_json(
    results: Iterable[Caption | Failure], path: Path, attention: bool, append: bool
) -> Iterator[Caption | Failure]:
    with path.open("a" if append else "w", encoding="utf-8") as file:
        for result in results:
            entry = result.to_dict() if isinstance(result, Failure) else result.to_dict(attention)
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            yield result


def _captioned_before(path: Path | None) -> set[str]:
    """Photos that an earlier run captioned; a line torn by a kill, and failures, are dropped from the file."""
    if path is None:
        raise SeesayError("--resume needs --json OUT.jsonl, the file to go on with")
    if not path.exists():
        return set()
    kept: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            if "caption" in entry:
                kept[entry["image"]] = line
        except (ValueError, KeyError, TypeError):
            continue
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text("".join(f"{line}\n" for line in kept.values()), encoding="utf-8")
    scratch.replace(path)
    return set(kept)


def _drawn(results: Iterable[Caption | Failure], path: Path, several: bool) -> Iterator[Caption | Failure]:
    from seesay.data.images import open_photo
    from seesay.explain import draw_figure

    used: set[Path] = set()
    for result in results:
        if isinstance(result, Caption) and result.image is not None:
            target = _unused(path, Path(result.image).stem, used) if several else path
            draw_figure(open_photo(result.image), result).save(target)
        yield result


def _unused(path: Path, stem: str, used: set[Path]) -> Path:
    """out.png + photo -> out-photo.png, numbered where two folders hold photos of one name."""
    target, number = path.with_stem(f"{path.stem}-{stem}"), 2
    while target in used:
        target, number = path.with_stem(f"{path.stem}-{stem}-{number}"), number + 1
    used.add(target)
    return target


def _write_page(results: Sequence[Caption | Failure], path: Path) -> None:
    from seesay.data.images import open_photo
    from seesay.explain import write_page

    def items():
        for result in results:
            if isinstance(result, Failure):
                yield None, Caption(result.error, 0.0, (), result.image)
            else:
                yield open_photo(str(result.image)), result

    write_page(path, items())


def _refuse_unwritable(*paths: Path | None) -> None:
    """An output that cannot be written is said before hours of captioning, not after."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.resolve().parent.is_dir()):
            what = "is a folder" if path.is_dir() else f"its folder {path.resolve().parent} does not exist"
            raise SeesayError(f"{path}: cannot be written: {what}")
