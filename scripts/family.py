"""Train the family on equal terms: one base, and variants that differ from it in one choice each.

python scripts/family.py PATH/TO/flickr8k --out runs/family                 all of them, then the table
python scripts/family.py PATH/TO/flickr8k --out runs/family dot gru         these only

A variant that is finished is left as it is (remove its folder to train it anew) and one that was stopped goes on, so
run it again after a stop. Each takes a few minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# 2,000 photos x 6 epochs with the recipe of the packaged model, a batch and an average for fewer steps.
BASE = ["data.limit=2000", "train.epochs=6", "train.batch_size=25", "train.ema=0.99", "train.patience=null"]
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
    # what a transformer needs to learn at all comes with the choice: more layers, less dropout, a lower rate
    "transformer": ["decoder.kind=transformer", "decoder.layers=3", "decoder.dropout=0.2", "train.lr=5e-4"],
    "adaptive": ["decoder.design=adaptive"],
    "up-down": ["decoder.design=up_down"],
    "region-self-attention": ["encoder.self_attention=1"],
    "lite0": ["encoder.name=tf_efficientnet_lite0"],
    "bpe": ["tokens.kind=bpe", "tokens.vocab_size=2000", "search.block_ngrams=4"],  # it counts tokens
    "glove": ["embedding.kind=glove"],
    "word2vec": ["embedding.kind=word2vec"],
    "scheduled-sampling": ["train.scheduled_sampling=0.25"],
}


def train(name: str, arguments: argparse.Namespace) -> str:
    """One variant in a process of its own -> what became of it."""
    folder: Path = arguments.out / name
    if (folder / "bundle").is_dir():
        return f"{name}: finished already"
    folder.mkdir(parents=True, exist_ok=True)
    values = [f"data.path={arguments.data}", *BASE, *VARIANTS[name], f"name={name}", f"out={folder}"]
    command = [sys.executable, "-m", "seesay", "train", "flickr8k", *values, "--resume"]
    threads = str(max(1, (os.cpu_count() or 1) // arguments.jobs))
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": threads})
    return f"{name}: {'finished' if done.returncode == 0 else f'failed, see {log.name}'}"


def main() -> None:
    """Train what is asked for, then compare all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"default all: {', '.join(VARIANTS)}")
    parser.add_argument("--out", type=Path, default=Path("runs/family"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="variants at once")
    arguments = parser.parse_intermixed_args()
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"no such variant: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for said in pool.map(lambda name: train(name, arguments), arguments.variants or VARIANTS):
            print(said, flush=True)
    failed = [name for name in arguments.variants or VARIANTS if not (arguments.out / name / "bundle").is_dir()]
    if failed:
        sys.exit(f"not finished: {', '.join(failed)}")
    runs = [str(arguments.out / name) for name in VARIANTS if (arguments.out / name / "bundle").is_dir()]
    files = ["--markdown", str(arguments.out / "family.md"), "--csv", str(arguments.out / "family.csv")]
    files += ["--chart", str(arguments.out / "family.png")]
    subprocess.run([sys.executable, "-m", "seesay", "compare", *runs, *files], check=True)


if __name__ == "__main__":
    main()
