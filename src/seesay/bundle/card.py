"""The model card that every bundle carries."""

from __future__ import annotations

from typing import Any

from seesay.config import Recipe


def model_card(recipe: Recipe, scores: dict[str, Any]) -> str:
    """What the model is, how it was made and how well it does, as Markdown."""
    data = ", ".join(path.rstrip("/").rpartition("/")[2] for path in recipe.data.path)
    return f"""# {recipe.name}

A caption model of [seesay](https://pypi.org/project/seesay): photo in, sentence out, with where it looked for each word.

- Encoder: `{recipe.encoder.name}` at {recipe.images.size} x {recipe.images.size} pixels, frozen
- Decoder: `{recipe.decoder.kind}` of {recipe.decoder.size}, {recipe.attention.kind} attention, {recipe.attention.score} score
- Trained on: {data}, seed {recipe.seed}
- Every setting: `recipe.yaml`. Repeat it with `seesay train recipe.yaml data.path=FOLDER`

## Figures on the dev split, x100

{_table(scores)}
"""


def _table(scores: dict[str, Any]) -> str:
    rows = [(key, value) for key, value in scores.items() if isinstance(value, int | float | list | str)]
    if not rows:
        return "None were taken."
    lines = [f"| {key} | {_show(value)} |" for key, value in rows]
    return "\n".join(["| score | |", "|---|---|", *lines])


def _show(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(_show(item) for item in value)
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)
