"""Put a run's bundle into the package, with official dev scores, a model card and a new manifest.

python scripts/package_model.py RUN/bundle NAME --data flickr8k=PATH --data coco_part=PATH
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from seesay.bundle.card import model_card
from seesay.bundle.format import bundle_being_written, open_bundle, write_manifest
from seesay.bundle.names import find_bundle
from seesay.config import Recipe
from seesay.data.readers import read_dataset
from seesay.evaluation import evaluate
from seesay.runtime import CaptionModel
from seesay.writing import write_json

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "src" / "seesay" / "assets" / "models"
NOTES = ROOT / "docs" / "known-failures.md"
TERMS = """
## What taught it, and under which terms

- Photos and captions: Flickr8k (Hodosh et al. 2013), for non-commercial research and education, and
  COCO (Lin et al. 2014), whose annotations are under CC BY 4.0. The photos belong to their authors.
- Boxes: those of [Flickr30k Entities](https://github.com/BryanPlummer/flickr30k_entities) (Plummer et
  al. 2017) for the photos that Flickr8k shares with Flickr30k, a data set that asks to be cited and
  whose photos are provided for non-commercial research and education, and COCO's instances (CC BY
  4.0).

No photo, caption or box is in the bundle.
"""


def main() -> None:
    """Evaluate the bundle and write it into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH")
    arguments = parser.parse_args()

    bundle = open_bundle(arguments.bundle)
    model = CaptionModel(bundle)
    scores = {}
    for name, _, path in (item.partition("=") for item in arguments.data):
        result = evaluate(model, read_dataset(path).split("dev"), official=True)
        about = {**result.about, "model": arguments.name}
        scores[f"{name} dev"] = {**about, **result.scores.to_dict(), "examples": result.examples()}
        print(name, result.scores.table(), sep="\n")
    values = {**bundle.recipe, "name": arguments.name}
    values["out"] = None
    for key in ("path", "boxes"):
        values["data"] = {**values["data"], key: [Path(path).name for path in values["data"][key]]}
    recipe = Recipe.from_dict(values)
    models = {key: getattr(recipe.train, key) for key in ("init", "teachers")}
    named = {key: tuple(open_bundle(find_bundle(name)).name for name in names) for key, names in models.items()}
    recipe = replace(recipe, train=replace(recipe.train, **named))
    with bundle_being_written(MODELS / arguments.name) as scratch:
        shutil.copytree(arguments.bundle, scratch, dirs_exist_ok=True)
        (scratch / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        write_json(scratch / "scores.json", scores)
        notes = f"{TERMS}\n{NOTES.read_text(encoding='utf-8')}"
        (scratch / "README.md").write_text(model_card(recipe, scores, notes), encoding="utf-8")
        write_manifest(scratch, bundle.grid, bundle.attention)
    print(
        f"{MODELS / arguments.name}: {sum(f.stat().st_size for f in (MODELS / arguments.name).iterdir()) / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
