"""`seesay caption`: prints captions and passes them to the writers, photo by photo."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.caption import Failure
from seesay.cli.count_aside import counted_aside
from seesay.cli.load_model import load_model
from seesay.cli.writable import STANDARD_OUTPUT, refuse_unwritable
from seesay.errors import printable
from seesay.outputs import WRITERS, Job, LeftOutError, OpenedOnce, Result, Writer

if TYPE_CHECKING:
    from seesay.data.sources import ListedPhoto, Sources
    from seesay.outputs.alt_text import AltText, AltTextOptions
    from seesay.runtime import CaptionModel
    from seesay.runtime.device import Wanted
    from seesay.runtime.sessions import Precision
    from seesay.search import SampleOptions


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """The options of `seesay caption`.

    Attributes:
        model: bundle folder, packaged name, or None for the packaged default.
        precision, threads, device: as for `seesay.load`.
        beam: None: the model's own.
        alternatives: number of captions per photo; None: one.
        sample: how to sample captions; None: beam search.
        prefix, max_words, forbid: as for `CaptionModel.caption`.
        outputs: {name of a writer: its file}; with "-", standard output has that writer's output only.
        attention: whether to put each word's map into the JSON.
        needed: show on the page what each word needed.
        resume: whether to skip photos that the JSON file has already.
        min_confidence: captions below it are withheld; None: only those of pictures that are no photos.
        cautious, likeliest: as for `CaptionModel.caption`.
        alt_text: where to write captions as alt text; None: nowhere.
    """

    model: str | None = None
    precision: Precision = "auto"
    threads: int | None = None
    device: Wanted = "cpu"
    beam: int | None = None
    alternatives: int | None = None
    sample: SampleOptions | None = None
    prefix: str | None = None
    max_words: int | None = None
    forbid: Sequence[str] = ()
    outputs: Mapping[str, Path] = field(default_factory=dict)
    attention: bool = False
    needed: bool = False
    resume: bool = False
    min_confidence: float | None = None
    cautious: bool = False
    likeliest: bool = False
    alt_text: AltTextOptions | None = None

    @property
    def rules(self) -> dict[str, Any]:
        """The given rules for captions, as arguments of `CaptionModel.caption`."""
        rules = {"prefix": self.prefix, "max_words": self.max_words, "forbid": list(self.forbid)}
        return {name: value for name, value in rules.items() if value not in (None, [])}

    def results(self, captioner: CaptionModel, photos: Iterable[Any]) -> Iterator[Result]:
        """The captions of photos with these options; see `CaptionModel.caption_many`.

        Raises:
            BundleError: `min_confidence` or `cautious` is set, and the model was not calibrated.
        """
        if self.min_confidence is not None or self.cautious:
            captioner.require_confidence()
        results = self._results(captioner, photos)
        return (
            results if self.min_confidence is None else (_withhold(result, self.min_confidence) for result in results)
        )

    def _results(self, captioner: CaptionModel, photos: Iterable[Any]) -> Iterator[Result]:
        if self.sample:
            return captioner.caption_many(photos, sample=self.sample, **self.rules)
        if self.alternatives:
            return captioner.caption_many(
                photos, beam=self.beam, alternatives=self.alternatives, likeliest=self.likeliest, **self.rules
            )
        return captioner.caption_many(
            photos, beam=self.beam, cautious=self.cautious, likeliest=self.likeliest, **self.rules
        )


def _withhold(result: Result, min_confidence: float) -> Result:
    if isinstance(result, Failure):
        return result
    if isinstance(result, list):
        return [caption.withhold(min_confidence) for caption in result]
    return result.withhold(min_confidence)


@dataclass
class Outcome:
    """What became of the photos.

    Attributes:
        photos: number of photos, those of an earlier run included.
        failed: number of photos that could not be captioned.
        left_out: number of captions that an output had to leave out.
    """

    photos: int = 0
    failed: int = 0
    left_out: int = 0


def caption_photos(sources: Sources, options: CaptionOptions) -> Outcome:
    """Caption photos and write the outputs.

    Captioning starts with the first photos that the sources list.

    Args:
        sources: what to caption.
        options: model, search and outputs.

    Raises:
        BusyError: another process writes to the JSON file.
        SeesayError: there are no photos, an output cannot be written, or the JSON file cannot be continued.
    """
    photos, names = first_photos(sources, options)
    job = Job(names, "samples" if options.sample else "alternatives", options.attention, options.resume)
    files = [file for name, path in options.outputs.items() for file in WRITERS[name].files(path, job)]
    refuse_unwritable(*files, reads=sources.reads)

    captioner = loaded_once(options)
    needed = (lambda photo, caption: captioner().occlusion(photo, caption)) if options.needed else None
    job = replace(job, made_by=lambda: made_by(captioner(), options), needed=needed)
    with open_writers(options, job, captioner) as writers:
        total = counted_aside(sources.count) if len(names) > 1 else None
        return write_all(photos, total, options, captioner(), writers)


def loaded_once(options: CaptionOptions) -> Callable[[], CaptionModel]:
    """A function that loads the model when it is first called; see `load_captioner`."""
    return cache(lambda: load_captioner(options, options.threads))


def load_captioner(options: CaptionOptions, threads: int | None) -> CaptionModel:
    """Load the model, and refuse what the options ask and it cannot do, before an output is opened.

    Raises:
        BundleError: the model cannot be opened; or `min_confidence` or `cautious` is set, and it was not calibrated.
        TextError: the prefix has words that the model does not know.
    """
    captioner = load_model(options.model, threads, options.precision, options.device)
    options.results(captioner, ())
    return captioner


def first_photos(sources: Sources, options: CaptionOptions) -> tuple[Iterator[ListedPhoto], list[str]]:
    """(all photos, the names of the first ones), or of all where a writer has to know them.

    Raises:
        DataError: there are no photos.
    """
    photos = iter(sources)
    known = list(photos) if any(WRITERS[name].named for name in options.outputs) else list(islice(photos, 2))
    return chain(known, photos), [photo.image for photo in known]


@contextmanager
def open_writers(options: CaptionOptions, job: Job, load: Callable[[], CaptionModel]) -> Iterator[list[Writer]]:
    """Open all that the options want to be written, and close it.

    Args:
        options: the outputs, and where alt text goes.
        job: for the writers.
        load: returns the model; it is called after files in use by another process are refused.
    """
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _open_outputs(options, job, load)]
        if options.alt_text:
            writers.append(stack.enter_context(_alt_text(options, load().bundle.name)))
        yield writers


@contextmanager
def _alt_text(options: CaptionOptions, model: str) -> Iterator[AltText]:
    """The writer of alt text; in the end, also of a run that was stopped, it says what was done."""
    from seesay.outputs.alt_text import AltText  # most runs need no XML

    assert options.alt_text
    writer = AltText(replace(options.alt_text, model=model))
    try:
        with writer:
            yield writer
    finally:
        for line in writer.summary:
            _warn(line)


def _open_outputs(options: CaptionOptions, job: Job, load: Callable[[], object]) -> Iterator[Writer]:
    """Open the requested writers.

    Those that resume come first, so that a file in use by another process is reported at once. The others are opened
    after the model has loaded, so that an error in the model leaves existing files alone.
    """
    outputs = sorted(options.outputs.items(), key=lambda output: WRITERS[output[0]].resumes, reverse=True)
    for name, path in outputs:
        if not WRITERS[name].resumes:
            load()
        yield WRITERS[name](path, job)


def made_by(captioner: CaptionModel, options: CaptionOptions) -> dict[str, Any]:
    """Everything but the photo that a caption depends on; it is in each line of the JSON, for --resume."""
    encoder, decoder = captioner.encoder_precision, captioner.precision
    settings: dict[str, Any] = {"model": captioner.bundle.name, "digest": captioner.bundle.digest}
    if options.sample:
        how = (option for option in fields(options.sample) if not option.kw_only)  # not the rules
        settings["sample"] = [getattr(options.sample, option.name) for option in how]
    else:
        settings["beam"] = options.beam or captioner.bundle.search.beam
    if options.alternatives:
        settings["alternatives"] = options.alternatives
    for name in ("cautious", "likeliest"):
        if getattr(options, name):
            settings[name] = True
    if options.min_confidence is not None:
        settings["min_confidence"] = options.min_confidence
    settings["precision"] = decoder if encoder == decoder else f"{encoder}, {decoder}"
    return settings | options.rules


def write_all(
    photos: Iterable[ListedPhoto],
    total: Callable[[], int | None] | None,
    options: CaptionOptions,
    captioner: CaptionModel,
    writers: Sequence[Writer],
) -> Outcome:
    """Caption photos, print the captions and pass them to the writers.

    Args:
        photos: those that a writer has already are left out.
        total: returns their number, if it is known by then; None: show no progress.
        options: how to caption.
        captioner: the model.
        writers: open.
    """
    outcome = Outcome()
    writers = sorted(writers, key=lambda writer: writer.resumes)  # --resume relies on its file, so it is written last
    todo = (photo for photo in _counting(photos, outcome) if not _is_done(photo, writers, options))
    print_captions = STANDARD_OUTPUT not in options.outputs.values()
    for photo, result in _with_progress(_results(captioner, todo, options), total, outcome):
        outcome.failed += not _print_result(result, print_captions)
        picture = OpenedOnce(photo.source, photo.id)
        for writer in writers:
            if options.resume and writer.resumes and writer.done.holds(photo):  # another one lacked it
                writer.pass_over()
                continue
            try:
                writer.write(picture, result)
            except LeftOutError as error:
                outcome.left_out += 1
                _warn(str(error))
    return outcome


def _is_done(photo: ListedPhoto, writers: Sequence[Writer], options: CaptionOptions) -> bool:
    """Whether no output needs a caption of a photo; with `--resume` figures may lack those of the run before."""
    asked = [writer for writer in writers if writer.resumes or not options.resume]
    done = bool(asked) and all(writer.done.holds(photo) for writer in asked)
    for writer in asked if done else ():
        writer.pass_over()
    return done


def _results(
    captioner: CaptionModel, photos: Iterable[ListedPhoto], options: CaptionOptions
) -> Iterator[tuple[ListedPhoto, Result]]:
    """Each photo with its result; photos are listed only some batches ahead."""
    ahead: deque[ListedPhoto] = deque()

    def handed_over() -> Iterator[Any]:
        for photo in photos:
            ahead.append(photo)
            yield photo.source

    for result in options.results(captioner, handed_over()):
        yield ahead.popleft(), result


def _counting(photos: Iterable[ListedPhoto], outcome: Outcome) -> Iterator[ListedPhoto]:
    for photo in photos:
        outcome.photos += 1
        yield photo


def _with_progress(
    results: Iterator[tuple[ListedPhoto, Result]], total: Callable[[], int | None] | None, outcome: Outcome
) -> Iterator[tuple[ListedPhoto, Result]]:
    if total is None or sys.stdout.isatty():  # on a terminal captions scroll by; a bar is for redirected output
        yield from results
        return
    from rich.console import Console  # slow to import, so not for a single photo

    from seesay.progress import progress

    with progress("captioning", total, Console(stderr=True)) as advance:
        before = 0
        for result in results:
            advance(outcome.photos - before)  # those that were done already count too
            before = outcome.photos
            yield result


def _print_result(result: Result, captions: bool) -> bool:
    """Print a photo's captions or its error; returns False for an error."""
    if isinstance(result, Failure):
        _warn(result.error)
        return False
    several = result if isinstance(result, list) else [result]
    if several[0].warning:
        _warn(f"{printable(several[0].image)}: {several[0].warning}")
    if captions:
        for caption in several:
            print(f"{printable(caption.image)}: {printable(caption.shown)}", flush=True)
    return True


def _warn(text: str) -> None:
    print(f"seesay: {printable(text)}", file=sys.stderr)
