"""The commands. Each is a few lines that call the library; names and options are a contract (docs/cli.md)."""

from __future__ import annotations

import inspect
import io
import os
import sys
import warnings
from collections.abc import Callable
from copy import copy
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import seesay
from seesay.cli.arguments import alt_text_options, check_outputs, sample_options, sources_of
from seesay.errors import SeesayError, needs, printable
from seesay.outputs import WRITERS
from seesay.writing import STANDARD_OUTPUT

if TYPE_CHECKING:
    from seesay.data.sources import Sources

app = typer.Typer(
    name="seesay",
    help="Captions photos and shows, word by word, where it looked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would double the time it takes
)
data_app = typer.Typer(help="Check, look at and convert data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

Model = Annotated[
    str | None, typer.Option(help="A bundle's folder or a packaged model's name.", show_default="packaged")
]
Layout = Annotated[str, typer.Option(help="A layout from docs/data.md, such as flickr30k or coco, or auto.")]
Splits = Annotated[
    str, typer.Option(help="auto, karpathy, a folder of id lists, a JSON file of splits, or shares (0.8/0.1/0.1).")
]
Columns = Annotated[
    str,
    typer.Option(help="Columns that cannot be guessed: image=pic,caption=words,split=fold.", show_default="guessed"),
]
Boxes = Annotated[
    list[Path] | None,
    typer.Option(help="Boxes of Flickr30k Entities or COCO's instances; may be given again.", show_default="none"),
]
Beam = Annotated[
    int | None, typer.Option(min=1, max=100, help="Hypotheses kept; 1 is greedy.", show_default="the model's")
]
Precision = Annotated[
    Literal["auto", "int8", "float32"],
    typer.Option(help="int8 is faster; some captions differ from float32's and are about as good."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "directml", "coreml"],
    typer.Option(help="Where the model runs; auto: the best that the installed onnxruntime supports."),
]
MinConfidence = Annotated[
    float | None, typer.Option(min=0, max=1, help="Withhold captions below this confidence.", show_default="none")
]
Cautious = Annotated[
    bool, typer.Option("--cautious", help="Prefer plainer words where the model is not sure of a thing.")
]
Likeliest = Annotated[
    bool,
    typer.Option("--likeliest", help="Take the likeliest sentence found, not the most trusted one."),
]
Sidecar = Annotated[bool, typer.Option("--sidecar", help="Write alt text beside each photo: PHOTO.xmp.")]
Embed = Annotated[bool, typer.Option("--embed", help="Write alt text into JPEG, PNG and WebP files.")]
Overwritten = Annotated[
    Literal["ours", "all"] | None,
    typer.Option(help="Alt text to replace: seesay's unless edited, or all.", show_default="none"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Cores to use.", show_default="all available")]
Json = Annotated[Path | None, typer.Option("--json", help="Write JSON to this file; - is standard output.")]


PATHS = typer.Argument(
    metavar="PATH...",
    help="Photos, folders (recursively), @LIST (@-: from a pipe), manifests (.jsonl, .parquet), "
    "tars, addresses (s3://...), or - for a photo from a pipe.",
    show_default=False,
)
Photos = Annotated[list[str], PATHS]


def named(text: str) -> Path:
    """A path from the command line. An empty one is refused, because it would mean the current folder."""
    if not text:
        raise typer.BadParameter("an empty name")
    return Path(text)


DataPaths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", parser=named, help="A data set's folder, or several to join.")
]


def run() -> None:
    """Run the command line; errors become one line and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")  # warnings about the metadata of photos
    try:
        try:
            app_of(next(iter(sys.argv[1:]), ""))()
        finally:
            sys.stdout.flush()
    except SeesayError as error:
        say(f"seesay: {error}")
        sys.exit(1)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # errors of files carry the file's name
            error.filename = "standard output"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python's flush at exit fails again
        say(f"seesay: {error}")
        sys.exit(1)


def app_of(name: str) -> typer.Typer:
    """The app with that command alone, if there is one: typer builds the options of all, which takes 10 ms."""
    commands = [command for command in app.registered_commands if getattr(command.callback, "__name__", "") == name]
    if not commands:
        return app
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = commands, []
    return alone


def say(text: str) -> None:
    """Print lines for the user on standard error."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)


@app.callback(invoke_without_command=True)
def seesay_(version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False) -> None:
    """Captions photos and shows, word by word, where it looked."""
    if version:
        print(seesay.__version__)
        raise typer.Exit


def with_writers(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option `--NAME FILE` for each writer to a command, which gets the given files as `outputs`."""
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option(f"--{name}", parser=named, help=kind.about)],
        )
        for name, kind in WRITERS.items()
    ]
    signature = inspect.signature(command, eval_str=True)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "outputs"]

    @wraps(command)
    def run(**values: Any) -> None:
        outputs = {name: values.pop(name) for name in WRITERS}
        command(**values, outputs={name: path for name, path in outputs.items() if path is not None})

    run.__dict__["__signature__"] = signature.replace(parameters=[*parameters, *options])
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *options)}
    return run


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("seesay-demo.html"),
    model: Model = None,
    serve: Annotated[bool, typer.Option("--serve", help="Open the page that takes your own photos, too.")] = False,
) -> None:
    """Caption the packaged photos and write a page that shows where the model looked."""
    if serve:
        with needs("serve", "seesay demo --serve"):
            from seesay.cli.serve import ServeOptions, run_server
        run_server(ServeOptions(model=model, port=0, browser="samples"))
        return
    from seesay.assets import demo_photos
    from seesay.cli.caption import CaptionOptions, caption_photos
    from seesay.data.sources import Sources

    caption_photos(Sources(demo_photos()), CaptionOptions(model=model, outputs={"page": out}))
    print(f"\nOpen {printable(out)} and point at a word to see where the model looked for it.")


@app.command()
@with_writers
def caption(
    paths: Annotated[list[str] | None, PATHS] = None,
    model: Model = None,
    beam: Beam = None,
    alternatives: Annotated[
        int | None, typer.Option(min=1, max=100, help="Captions of each photo, best first.", show_default="one")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Number of captions to sample for each photo.", show_default="none"),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="With --sample: below 1, likely words become likelier.", show_default="0.8")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="With --sample: choose among the likeliest words of this probability.", show_default="0.9"),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="With --sample: the random seed.", show_default="0")] = None,
    prefix: Annotated[str | None, typer.Option(help="Text that each caption begins with.")] = None,
    max_words: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Longest caption in words.", show_default="the model's")
    ] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="Words not to use; may be repeated.")
    ] = None,
    attention: Annotated[bool, typer.Option("--attention", help="Put each word's attention into the JSON.")] = False,
    needed: Annotated[
        bool, typer.Option("--needed", help="On the page, what each word needed too; a second or so a photo.")
    ] = False,
    min_confidence: MinConfidence = None,
    cautious: Cautious = False,
    likeliest: Likeliest = False,
    resume: Annotated[bool, typer.Option("--resume", help="Skip photos that the output has already.")] = False,
    sidecar: Sidecar = False,
    embed: Embed = False,
    overwrite: Overwritten = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --sidecar or --embed: change no file.")] = False,
    undo: Annotated[
        Path | None, typer.Option(metavar="LOG", parser=named, help="Undo the alt text of an earlier run.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Caption part K of N; the N parts are disjoint.")
    ] = None,
    columns: Annotated[str, typer.Option(help="A manifest's columns: image=pic,id=key.", show_default="guessed")] = "",
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Caption by Ray, with --parquet: local, auto or ray://HOST:PORT."),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="With --cluster: captioners at most.", show_default="one a core")
    ] = None,
    precision: Precision = "auto",
    threads: Threads = None,
    device: Device = "cpu",
    *,
    outputs: dict[str, Path],
) -> None:
    """Caption photos; the exit code is 1 if any photo could not be read, or an output lacks it."""
    if undo is not None:
        if paths or outputs or sidecar or embed or overwrite or dry_run:
            raise typer.BadParameter("--undo knows its files from the log: give no photos and no outputs")
        undo_alt_text(undo)
        return
    if not paths:
        raise typer.BadParameter("which photos? Give files or folders")
    alt_text = alt_text_options(sidecar, embed, overwrite, dry_run)
    check_outputs(outputs, resume)
    if cluster is not None and (outputs.keys() != {"parquet"} or alt_text):
        raise typer.BadParameter("--cluster needs --parquet OUT, and has no other output")
    if actors is not None and cluster is None:
        raise typer.BadParameter("--actors: only of use with --cluster")
    if "parquet" in outputs and (alternatives or sample):
        raise typer.BadParameter("--parquet has one caption a photo: use --json with --alternatives and --sample")
    if cautious and (alternatives or sample):
        raise typer.BadParameter("--cautious gives one caption: leave out --alternatives and --sample")
    if likeliest and (cautious or sample):
        raise typer.BadParameter("--likeliest: expected neither --cautious nor --sample")
    if attention and not {"json", "parquet"} & outputs.keys():
        say("seesay: --attention puts maps into the JSON; without --json it does nothing")
    if needed and "page" not in outputs:
        say("seesay: --needed puts maps onto the page; without --page it does nothing")

    from seesay.cli.caption import CaptionOptions, caption_photos

    sampling = sample_options(sample, alternatives, temperature=temperature, top_p=top_p, seed=seed)
    sources = sources_of(paths, shard, columns)
    options = CaptionOptions(
        model=model,
        precision=precision,
        threads=threads,
        device=device,
        beam=beam,
        alternatives=alternatives,
        sample=sampling,
        prefix=prefix,
        max_words=max_words,
        forbid=forbid or (),
        outputs=outputs,
        attention=attention,
        needed=needed and "page" in outputs,
        resume=resume,
        min_confidence=min_confidence,
        cautious=cautious,
        likeliest=likeliest,
        alt_text=alt_text,
    )
    if cluster is None:
        outcome = caption_photos(sources, options)
    else:
        from seesay.cli.cluster import caption_by_cluster

        outcome = caption_by_cluster(sources, options, cluster, actors)
    say_passed_over(sources)
    if outcome.left_out:
        say(f"seesay: an output lacks {outcome.left_out:,} of {outcome.photos:,} photos")
    if outcome.failed:
        say(f"seesay: {outcome.failed:,} of {outcome.photos:,} photos could not be captioned")
    if outcome.failed or outcome.left_out:
        raise typer.Exit(1)
    if not outcome.photos:
        say(f"seesay: none of the {sources.listed:,} photos is in shard {shard}")


def undo_alt_text(log: Path) -> None:
    """Undo what an earlier run wrote into metadata; the exit code is 1 if files were left alone."""
    from seesay.data.text import count_of
    from seesay.outputs.alt_text import undo

    files, problems = undo(log)
    for problem in problems:
        say(f"seesay: {problem}")
    say(f"seesay: {count_of(files, 'file')} as before")
    if problems:
        raise typer.Exit(1)


def say_passed_over(sources: Sources) -> None:
    """Print what was skipped in folders."""
    from seesay.data.images import passed_over_note

    if sources.passed_over:
        say(f"seesay: {passed_over_note(sources.passed_over)}")


@app.command()
def watch(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", parser=named, help="Searched recursively.")],
    json: Annotated[
        Path | None, typer.Option("--json", parser=named, help="Add one JSON object a photo to this file (.jsonl).")
    ] = None,
    sidecar: Sidecar = False,
    embed: Embed = False,
    overwrite: Overwritten = None,
    min_confidence: MinConfidence = None,
    cautious: Cautious = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one look at the folders to the next.")] = 5.0,
    model: Model = None,
    beam: Beam = None,
    precision: Precision = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Caption the photos in folders, and those that come, until Ctrl-C."""
    alt_text = alt_text_options(sidecar, embed, overwrite)
    if json == STANDARD_OUTPUT:
        raise typer.BadParameter("--json -: expected a file, not standard output")

    from seesay.cli.caption import CaptionOptions
    from seesay.cli.watch import watch_folders

    options = CaptionOptions(
        model=model,
        precision=precision,
        threads=threads,
        device=device,
        beam=beam,
        outputs={"json": json} if json else {},
        min_confidence=min_confidence,
        cautious=cautious,
        alt_text=alt_text,
    )
    watch_folders(folders, options, every)


@app.command()
def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART...", parser=named, help="Outputs of shards: JSON lines, or Parquet folders."),
    ],
    json: Annotated[
        Path | None, typer.Option("--json", parser=named, help="Write JSON lines here.", show_default="standard output")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(parser=named, help="Write Parquet files into this new folder.")
    ] = None,
) -> None:
    """Merge the outputs of shards; each photo is written once. The exit code is 1 if lines were cut off."""
    from seesay.cli.merge import merge_parts

    if json and parquet:
        raise typer.BadParameter("--json and --parquet: give one of the two")
    if not merge_parts(parts, json, parquet):
        raise typer.Exit(1)


@app.command()
def score(
    paths: Photos,
    text: Annotated[str, typer.Option(help="The sentence; capitals and punctuation do not matter.")],
    model: Model = None,
    attention: Annotated[bool, typer.Option("--attention", help="Print each word's attention too.")] = False,
    precision: Precision = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Score a sentence for each photo: a JSON line per photo, the likeliest photo first."""
    from seesay.cli.score import score_photos

    sources = sources_of(paths)
    failed, photos = score_photos(
        sources,
        text,
        model=model,
        attention=attention,
        precision=precision,
        threads=threads,
        device=device,
    )
    say_passed_over(sources)
    if failed:
        say(f"seesay: {failed:,} of {photos:,} photos could not be read")
        raise typer.Exit(1)


@data_app.command("check")
def data_check(
    path: DataPaths,
    layout: Layout = "auto",
    splits: Splits = "auto",
    columns: Columns = "",
    every: Annotated[bool, typer.Option("--all", help="Print every problem, however many are alike.")] = False,
    boxes: Boxes = None,
) -> None:
    """Report a data set's layout, contents and problems; the exit code is 1 if anything is left out."""
    from seesay.cli.data import check

    if not check(path, layout, splits, columns, every, boxes or ()):
        raise typer.Exit(1)


@data_app.command("show")
def data_show(
    path: DataPaths,
    page: Annotated[Path, typer.Option(help="The page to write (.html).")],
    split: Annotated[str | None, typer.Option(help="train, dev (val) or test.", show_default="all")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Photos.")] = 12,
    seed: Annotated[int, typer.Option(help="Random seed: another one selects other photos.")] = 0,
    boxes: Boxes = None,
    layout: Layout = "auto",
    splits: Splits = "auto",
    columns: Columns = "",
) -> None:
    """Write a page of randomly selected photos with their captions and boxes, to look at before training."""
    from seesay.cli.data import show

    show(
        path,
        page,
        split=split,
        count=n,
        seed=seed,
        boxes=boxes or (),
        layout=layout,
        splits=splits,
        columns=columns,
    )


@data_app.command("convert")
def data_convert(
    path: DataPaths,
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    to: Annotated[Literal["coco", "folder", "webdataset", "parquet"], typer.Option(help="The layout to write.")],
    shard_mb: Annotated[int, typer.Option(min=1, help="Approximate megabytes of photos in a tar file or table.")] = 500,
    boxes: Boxes = None,
    layout: Layout = "auto",
    splits: Splits = "auto",
    columns: Columns = "",
) -> None:
    """Write a data set in another layout, with its splits and boxes; an interrupted conversion can be continued."""
    from seesay.cli.data import rewrite

    rewrite(
        path,
        out,
        to,
        shard_mb=shard_mb,
        boxes=boxes or (),
        layout=layout,
        splits=splits,
        columns=columns,
    )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or a packaged recipe's name.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys to override.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the out folder.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say steps, memory, disk and time, and train nothing.")] = False,
) -> None:
    """Train a model; writes OUT/ with the finished model in OUT/bundle/."""
    from seesay.config import load_recipe

    # Checked before torch loads, so that a typo is answered at once. Contradictions between keys are left to `train`,
    # which reports them together with all other problems.
    checked = load_recipe(recipe, overrides or [], check_together=False)
    # Allocate large blocks from huge pages; without, eager torch on a CPU spends up to half of its time on page faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with needs("train", "seesay train"):
        from seesay.cli.train import CalibrationStoppedError, train_and_calibrate
        from seesay.training.loop import StoppedError

        if plan:
            from seesay.training.plan import plan as plan_run

            print(plan_run(checked))
            return
    try:
        print(printable(train_and_calibrate(checked, resume)))
    except StoppedError:
        say(f"seesay: stopped; everything is saved in {checked.folder}, add --resume to go on")
        raise typer.Exit(130) from None
    except CalibrationStoppedError as error:
        say(f"seesay: {error}")
        raise typer.Exit(130) from None


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="A bundle's folder or a packaged model's name.")],
    data: Annotated[list[Path], typer.Option(metavar="PATH", parser=named, help="A data set's folder.")],
    split: Annotated[str, typer.Option(help="train, dev (val) or test.")] = "test",
    beam: Beam = None,
    attention: Annotated[bool, typer.Option("--attention", help="Report figures on the attention maps too.")] = False,
    json: Json = None,
    layout: Layout = "auto",
    splits: Splits = "auto",
    columns: Columns = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of photos.", show_default="all")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page of the best, middling and worst captions (.html).")
    ] = None,
    report_photos: Annotated[int, typer.Option(min=1, help="Photos in each part of the report.")] = 12,
    precision: Precision = "auto",
    boxes: Boxes = None,
    attention_photos: Annotated[
        int, typer.Option(min=1, help="With --attention and --boxes: photos for the test that hides parts of them.")
    ] = 60,
    device: Device = "cpu",
    likeliest: Likeliest = False,
) -> None:
    """Caption a split and score the captions: BLEU, METEOR, ROUGE-L, CIDEr, and variety, length and repetition."""
    from seesay.cli.evaluate import EvaluateOptions, evaluate_model

    options = EvaluateOptions(
        model=model,
        data=data,
        split=split,
        beam=beam,
        layout=layout,
        splits=splits,
        columns=columns,
        limit=limit,
        boxes=boxes or (),
        attention=attention,
        attention_photos=attention_photos,
        json=json,
        report=report,
        report_photos=report_photos,
        precision=precision,
        device=device,
        likeliest=likeliest,
    )
    evaluate_model(options)


@app.command()
def calibrate(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder; the result is written into it.")],
    data: Annotated[list[Path], typer.Option(metavar="PATH", parser=named, help="A data set; may be repeated.")],
    non_photos: Annotated[
        Path | None,
        typer.Option(parser=named, help="Folders of pictures that are no photos, named by kind.", show_default="none"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=named, help="Write another bundle.", show_default="the same")
    ] = None,
    layout: Layout = "auto",
    splits: Splits = "auto",
    columns: Columns = "",
    boxes: Boxes = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Photos of each split at most.", show_default="all")] = None,
    precision: Precision = "auto",
    threads: Threads = None,
    json: Json = None,
) -> None:
    """Learn how far a model's captions can be trusted, from the splits train and dev; written into the bundle."""
    from seesay.cli.calibrate import CalibrateOptions, calibrate_bundle

    options = CalibrateOptions(
        bundle=bundle,
        data=data,
        non_photos=non_photos,
        out=out,
        layout=layout,
        splits=splits,
        columns=columns,
        boxes=boxes or (),
        limit=limit,
        precision=precision,
        threads=threads,
        json=json,
    )
    calibrate_bundle(options)


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", parser=named, help="Folders of runs or of bundles, or scores files (.json)."),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            parser=named,
            help="Score all of them on this data set's photos; may be repeated.",
            show_default="their own dev scores",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="With --data: train, dev (val) or test.")] = "test",
    precision: Annotated[
        Literal["auto", "int8", "float32"], typer.Option(help="With --data: precision of all models.")
    ] = "float32",
    beam: Beam = None,
    limit: Annotated[int | None, typer.Option(min=1, help="With --data: photos at most.", show_default="all")] = None,
    layout: Layout = "auto",
    splits: Splits = "auto",
    columns: Columns = "",
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown (.md).")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all figures (.csv).")] = None,
    chart: Annotated[Path | None, typer.Option(help="Draw a chart of CIDEr with its intervals (.png).")] = None,
    speed: Annotated[bool, typer.Option("--speed", help="Measure captions per second too.")] = False,
    sort: Annotated[str | None, typer.Option(help="Sort by this column of the CSV, such as cider.")] = None,
) -> None:
    """Compare runs by recipe, size, time and dev scores; with --data, by scores on the same photos, with tests."""
    from seesay.cli.compare import compare_runs
    from seesay.cli.compare_models import compare_on, is_scores

    if data or any(map(is_scores, runs)):
        if not (data or all(map(is_scores, runs))):
            raise typer.BadParameter("scores files beside models need --data PATH, to score all on the same photos")
        if speed or chart or sort:
            raise typer.BadParameter("--speed, --chart and --sort are of runs, without --data and scores files")
        compare_on(
            runs,
            data or (),
            split=split,
            precision=precision,
            beam=beam,
            limit=limit,
            layout=layout,
            splits=splits,
            columns=columns,
            markdown=markdown,
            csv=csv,
        )
        return

    compare_runs(runs, markdown=markdown, csv=csv, chart=chart, speed=speed, sort=sort)


@app.command()
def bench(
    model: Model = None,
    photos: Annotated[int, typer.Option(min=1, help="Number of photos to caption.")] = 96,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each measurement; the median counts.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help="One part to measure; may be repeated.", show_default="all")
    ] = None,
    linear: Annotated[bool, typer.Option("--linear", help="Caption seven times as many photos too (minutes).")] = False,
    json: Json = None,
    precision: Precision = "auto",
    device: Device = "cpu",
) -> None:
    """Measure how fast this machine captions, trains and scores; each figure stands beside a measured limit."""
    from seesay.bench import Options
    from seesay.cli.bench import measure

    options = Options(model, photos, repeats, only=tuple(only or ()), linear=linear, precision=precision, device=device)
    measure(options, json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The name or address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = 8000,
    model: Model = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="SEESAY_TOKEN", help="The token that clients must send.", show_default="none"),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines connect without a token.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name of this server, or * for any; may be repeated.", show_default="none"),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A site whose pages may use it; may be repeated.", show_default="none"),
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, max=1024, help="The largest request, in megabytes.")] = 64,
    max_photos: Annotated[int, typer.Option(min=1, max=1000, help="The most photos in one request.")] = 32,
    queue: Annotated[int, typer.Option(min=1, max=100_000, help="The most photos in the queue.")] = 256,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds after which a request is given up.")] = 30,
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Withhold captions below this confidence.", show_default="none"),
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write the log as JSON lines.")] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    precision: Precision = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Serve a web page and an HTTP API until Ctrl-C."""
    with needs("serve", "seesay serve"):
        from seesay.cli.serve import ServeOptions, run_server

    options = ServeOptions(
        host=host,
        port=port,
        model=model,
        token=token,
        insecure=insecure,
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
        max_mb=max_mb,
        max_photos=max_photos,
        queue=queue,
        timeout=timeout,
        min_confidence=min_confidence,
        log_json=log_json,
        browser="" if browser else None,
        precision=precision,
        threads=threads,
        device=device,
    )
    run_server(options)


@app.command()
def export(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder or a packaged model's name.")],
    out: Annotated[Path, typer.Argument(help="Folder for the graphs.")],
) -> None:
    """Write a bundle's ONNX graphs for other runtimes, with a README of their inputs and outputs."""
    from seesay.bundle.copy_graphs import export_graphs
    from seesay.bundle.names import find_bundle

    print(printable(export_graphs(find_bundle(bundle), out)))
