"""`seesay train --plan`: what a run takes, before any photo is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cli
from rich.console import Console

from seesay.config import Recipe
from seesay.errors import RecipeError
from seesay.training.plan import duration, plan

QUIET = Console(quiet=True)


def recipe_of(base: Recipe, data: Path, out: Path, **sections: dict[str, object]) -> Recipe:
    values = base.to_dict() | {"out": str(out), "data": {"path": [str(data)]}}
    for section, keys in sections.items():
        values[section] = {**values[section], **keys}
    return Recipe.from_dict(values)


@pytest.mark.parametrize(
    ("sections", "stored"),
    [
        ({"train": {"max_steps": 7, "calibrate": False}}, 17),
        ({"images": {"augment": True, "views": 2}}, 29),
        ({"images": {"augment": True}, "attention": {"kind": "hard"}}, 0),
    ],
    ids=["cached", "views", "uncached"],
)
def test_a_plan_reads_no_photo_and_writes_nothing(
    sections: dict[str, dict[str, object]],
    stored: int,
    tiny_recipe: Recipe,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("a photo was opened"))
    recipe = recipe_of(tiny_recipe, tiny_data, tmp_path / "run", **sections)
    planned = plan(recipe, QUIET)
    assert (planned.photos, planned.dev, planned.batch) == (12, 5, 5)
    assert planned.steps == (recipe.train.max_steps or 9) and planned.epochs == 3
    row = planned.feature_bytes / max(stored, 1)
    assert (planned.feature_bytes == 0) == (stored == 0) and row == int(row)
    assert planned.trained <= planned.weights and planned.seconds > 0
    assert (planned.calibrate_seconds > 0) == ("confidence" in str(planned)) == recipe.train.calibrate
    said = [line.split()[0] for line in str(planned).splitlines()]
    assert said == [
        "data",
        "steps",
        "model",
        "memory",
        "disk",
        "time",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_plan_has_the_problems_of_the_run(tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_recipe, tiny_data, tmp_path / "run")
    with pytest.raises(RecipeError, match=r"data\.path=/nowhere: no such folder"):
        plan(replace(recipe, data=replace(recipe.data, path=("/nowhere",))), QUIET)


def test_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.training.plan.plan", lambda recipe: f"plan of {recipe.name}")
    monkeypatch.setattr("seesay.training.train.train", lambda *_: pytest.fail("it trained"))
    done = cli("train", "flickr8k", "data.path=x", "--plan")
    assert (done.code, done.out) == (0, "plan of flickr8k\n")


def test_durations() -> None:
    assert [duration(seconds) for seconds in (40, 720, 27_000, 276_480)] == ["40 s", "12.0 min", "7.5 h", "3.2 days"]
