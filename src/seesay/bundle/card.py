"""The model card, README.md of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seesay.bundle.names import short_name
from seesay.config import Recipe

Scores = Mapping[str, Mapping[str, Any]]

COLUMNS = {
    "BLEU-1": "bleu_1",
    "BLEU-4": "bleu_4",
    "METEOR": "meteor",
    "ROUGE-L": "rouge_l",
    "CIDEr": "cider",
}
EXAMPLES = """
## What to expect

Photos that nobody chose: drawn from each split with a fixed seed, the best first. CIDEr is that of the one
caption, x100; it counts shared words, so a caption that is right in other words scores low.

| split | photo | caption | CIDEr |
|---|---|---|---|"""


def model_card(recipe: Recipe, scores: Scores, notes: str = "") -> str:
    """The model card as Markdown: architecture, training and scores.

    Args:
        recipe: the recipe of the run.
        scores: name of a split -> `seesay.metrics.Scores.to_dict()`; with `examples`
            (`Evaluation.examples()`: id, caption, cider) beside it the card shows them.
        notes: further sections, such as known failures.
    """
    data = ",".join(_last_part(path) for path in recipe.data.path)
    path = f" 'data.path=[{data}]'" if "," in data else f" data.path={data}" if data else ""
    started, taught = (
        ", ".join(f"`{short_name(name)}`" for name in names) for names in (recipe.train.init, recipe.train.teachers)
    )
    start = f", from {'the mean of ' if len(recipe.train.init) > 1 else ''}{started}" if started else ""
    start += f", taught by {taught}" if taught else ""
    boxes = ", ".join(_last_part(path) for path in recipe.data.boxes) if recipe.train.grounding else ""
    boxes = f"\n- Attention taught by the boxes of: {boxes} (weight {recipe.train.grounding:g})" if boxes else ""
    again = " (where these models are)" if start else ""
    layer = f", read at `{recipe.encoder.layer}`" if recipe.encoder.layer is not None else ""
    layer += ", with finer regions of an earlier stage" if recipe.encoder.finer else ""
    tuned = f"fine-tuned ({recipe.encoder.finetune})" if recipe.encoder.finetune != "none" else "frozen"
    if started:
        tuned += " in this run"
    layers = f", {recipe.decoder.layers} layers" if recipe.decoder.layers > 1 else ""
    design = f", `{recipe.decoder.design}`" if recipe.decoder.design else ""
    heads = f", {recipe.heads} heads" if recipe.heads > 1 else ""
    return f"""# {recipe.name}

A caption model of seesay: photo in, sentence out, with where it looked for each word.

- Encoder: `{recipe.encoder.name}` at {recipe.images.size} x {recipe.images.size} pixels{layer}, {tuned}
- Decoder: `{recipe.decoder.kind}` of {recipe.decoder.size}{layers}{design}
- Attention: {recipe.attention.kind}, with the {recipe.score} score{heads}
- Tokens: `{recipe.tokens.kind}`; vectors: {recipe.embedding.kind}
- Trained on: {data or recipe.data.layout}, {recipe.train.objective}{start}; seed {recipe.seed}{boxes}
- Every setting is in `recipe.yaml`; `seesay train recipe.yaml{path} out=FOLDER` makes it again{again}

## Figures, x100

{score_table(scores)}
{example_table(scores)}{notes}"""


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def score_table(scores: Scores) -> str:
    """A Markdown table with a row for each split."""
    if not scores:
        return "None were taken."
    lines = [f"| split | photos | {' | '.join(COLUMNS)} | tokeniser |", f"|---|---|{'---|' * len(COLUMNS)}---|"]
    for split, values in scores.items():
        figures = [values.get(key) for key in COLUMNS.values()]
        shown = ["-" if figure is None else f"{100 * figure:.1f}" for figure in figures]
        lines.append(f"| {split} | {values['images']:,} | {' | '.join(shown)} | {values['tokeniser']} |")
    if any(values.get("chosen_by") == "confidence" for values in scores.values()):
        lines += ["", "Of the sentences that a search finds, the one that the model trusts most was taken."]
    elif any(values.get("chosen_by") for values in scores.values()):
        lines += ["", "Of the sentences that a search finds, the likeliest one was taken."]
    return "\n".join(lines)


def example_table(scores: Scores) -> str:
    """A section with captions of some photos, by their ids; empty if no split has examples."""
    rows = [(split, example) for split, values in scores.items() for example in values.get("examples", ())]
    if not rows:
        return ""
    lines = [
        f"| {split} | `{_cell(example['id'])}` | {_cell(example['caption'])} | {100 * example['cider']:.1f} |"
        for split, example in rows
    ]
    return "\n".join([EXAMPLES, *lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
