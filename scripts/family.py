"""Train a base model and variants that differ from it in one choice each, on equal terms.

    python scripts/family.py PATH/TO/flickr8k --out runs/family
    python scripts/family.py PATH/TO/flickr8k --out runs/family dot gru
    python scripts/family.py PATH/TO/flickr8k --boxes PATH/TO/entities base taught

The first command trains all variants and prints the table, the second only those that it names, and
the third also trains with grounding and prints a second table about attention.

A finished variant is not trained again (unless you remove its folder), and a stopped one is
resumed, so the same command continues after an interruption. Each variant takes 9 to 53 minutes on
one core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# 2,000 photos x 6 epochs, with a batch size and averaging for so few steps.
BASE = [
    "data.limit=2000",
    "train.epochs=6",
    "train.batch_size=25",
    "train.ema=0.99",
    "train.patience=null",
    "train.calibrate=false",
]
VARIANTS: dict[str, list[str]] = {
    "base": [],
    "dot": ["attention.score=dot"],
    "scaled-dot": ["attention.score=scaled_dot"],
    "4-heads": ["attention.heads=4"],
    "hard": ["attention.kind=hard"],
    "doubly-stochastic": ["train.doubly_stochastic=1.0"],
    "rnn": ["decoder.kind=rnn"],
    "gru": ["decoder.kind=gru"],
    "2-layers": ["decoder.layers=2"],
    # a transformer also needs more layers, less dropout and a lower learning rate
    "transformer": ["decoder.kind=transformer", "decoder.layers=3", "decoder.dropout=0.2", "train.lr=5e-4"],
    "adaptive": ["decoder.design=adaptive"],
    "up-down": ["decoder.design=up_down"],
    "region-self-attention": ["encoder.self_attention=1"],
    "lite0": ["encoder.name=tf_efficientnet_lite0"],
    # block_ngrams counts tokens
    "bpe": ["tokens.kind=bpe", "tokens.vocab_size=2000", "search.block_ngrams=4"],
    "glove": ["embedding.kind=glove"],
    "word2vec": ["embedding.kind=word2vec"],
    "scheduled-sampling": ["train.scheduled_sampling=0.25"],
}
COLUMNS = ("variant", "pointing", "small boxes", "centre", "another word's map", "deletion gap")
TAUGHT = {"base": "taught", "hard": "hard-taught", "gru": "gru-taught", "transformer": "transformer-taught"}
VARIANTS |= {taught: [*VARIANTS[plain], "train.grounding=0.6"] for plain, taught in TAUGHT.items()}


def train(name: str, arguments: argparse.Namespace) -> str:
    """Train a variant in a process of its own; returns the outcome as text."""
    folder: Path = arguments.out / name
    if (folder / "bundle").is_dir():
        return f"{name}: finished already"
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [f"data.boxes={arguments.boxes}"] if name in TAUGHT.values() else []
    values = [f"data.path={arguments.data}", *boxes, *BASE, *VARIANTS[name], f"name={name}", f"out={folder}"]
    command = [sys.executable, "-m", "seesay", "train", "flickr8k", *values, "--resume"]
    threads = str(max(1, (os.cpu_count() or 1) // arguments.jobs))
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": threads})
    return f"{name}: {'finished' if done.returncode == 0 else f'failed, see {log.name}'}"


def measure_attention(name: str, arguments: argparse.Namespace) -> list[str]:
    """A row of the table of attention: pointing (small boxes), another word's map, deletion gap."""
    scores = arguments.out / name / "attention.json"
    if not scores.is_file():
        command = [sys.executable, "-m", "seesay", "evaluate", "--model", str(arguments.out / name / "bundle")]
        command += ["--data", str(arguments.data), "--split", "dev", "--attention", "--boxes", str(arguments.boxes)]
        command += ["--attention-photos", "30", "--json", str(scores)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    measured = json.loads(scores.read_text("utf-8"))["attention"]
    words, small = (measured["localisation"]["own"][size] for size in ("all", "small"))
    gap = next(f for f in measured["deletion"] if f["share"] == 0.25 and f["fill"] == "mean")["gaps"]["random"]
    figures = [words["attention"]["pointing"], small["attention"]["pointing"], words["centre"]["pointing"]]
    figures += [words["other_word"]["pointing"], gap]
    return [name, *(f"{f['mean']:.2f} ({f['interval'][0]:.2f} to {f['interval'][1]:.2f})" for f in figures)]


def main() -> None:
    """Train the given variants, then compare all finished ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"default all: {', '.join(VARIANTS)}")
    parser.add_argument("--out", type=Path, default=Path("runs/family"))
    parser.add_argument("--boxes", type=Path, help="Flickr30k Entities' layout, for the taught variants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="variants at once")
    arguments = parser.parse_intermixed_args()
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"no such variant: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    wanted = arguments.variants or [name for name in VARIANTS if arguments.boxes or name not in TAUGHT.values()]
    if not arguments.boxes and (taught := set(wanted) & set(TAUGHT.values())):
        parser.error(f"{', '.join(sorted(taught))}: give --boxes")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for said in pool.map(lambda name: train(name, arguments), wanted):
            print(said, flush=True)
    failed = [name for name in wanted if not (arguments.out / name / "bundle").is_dir()]
    if failed:
        sys.exit(f"not finished: {', '.join(failed)}")
    runs = [str(arguments.out / name) for name in VARIANTS if (arguments.out / name / "bundle").is_dir()]
    files = ["--markdown", str(arguments.out / "family.md"), "--csv", str(arguments.out / "family.csv")]
    files += ["--chart", str(arguments.out / "family.png")]
    subprocess.run([sys.executable, "-m", "seesay", "compare", *runs, *files], check=True)
    if arguments.boxes:
        compared = [name for name in wanted if name in TAUGHT or name in TAUGHT.values()]
        rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(measure_attention(name, arguments) for name in compared)]
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        (arguments.out / "attention.md").write_text(table, encoding="utf-8")
        print(table)


if __name__ == "__main__":
    main()
