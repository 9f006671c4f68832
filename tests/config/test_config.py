"""Recipes: files, overrides, and mistakes in them."""

from __future__ import annotations

import re
import runpy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from seesay.config import Recipe, find_recipe, flat_recipe, load_recipe, packaged_recipes
from seesay.config.keys import meanings
from seesay.config.recipe import keys_with, known_values
from seesay.config.schema import LONGEST_TEXT, aliases, flat_fields, flatten, to_mapping
from seesay.config.sections import TrainSection
from seesay.errors import RecipeError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  lr: 1e-3\n  epochs: 7\ndata:\n  path: photos\n", encoding="utf-8")
    return path


def problems_of(values: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(values)
    head, *lines = str(caught.value).splitlines()
    assert head == "the recipe cannot be used:"
    return [line.removeprefix("  ") for line in lines]


# keys


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": {"batchsize": 3}}, "train.batchsize: no such key. Did you mean 'train.batch_size'?"),
        ({"trian": {"lr": 3}}, "trian: no such key. Did you mean 'train'?"),
        ({"batch_size": 3}, "batch_size: no such key. Did you mean 'train.batch_size'?"),
        ({"batchsize": 3}, "batchsize: no such key. Did you mean 'train.batch_size'?"),
        ({"decoder": {"min_cuont": 3}}, "decoder.min_cuont: no such key. Did you mean 'tokens.min_count'?"),
        ({"splits": "x"}, "splits: no such key. Did you mean 'data.splits'?"),
        ({"search": {"lr": 1}}, "search.lr: no such key. Did you mean 'encoder.lr' or 'train.lr'?"),
        ({"quux": 1}, "quux: no such key."),
        ({3: 1}, "3: no such key."),
    ],
)
def test_unknown_keys_name_the_nearest(values: dict[Any, Any], said: str) -> None:
    assert problems_of(values) == [said]


def test_a_name_in_several_sections_names_them_all() -> None:
    (said,) = problems_of({"size": 3})
    for section in ("images", "embedding", "attention", "decoder"):
        assert f"'{section}.size'" in said


def test_every_problem_is_said_at_once() -> None:
    found = problems_of(
        {
            "nmae": "x",
            "seed": "seven",
            "train": {"lr": -1, "bach_size": 3, "warmup": 1, "epochs": -1},
            "decoder": 5,
            "tokens": {"kind": "bytes"},
        }
    )
    assert len(found) == 8
    starts = ["nmae: no such key", "seed=seven: ", "train.lr=-1: ", "train.bach_size: no", "train.epochs=-1: "]
    starts += ["decoder=5: expected keys and values", "tokens.kind=bytes: expected word", "train.warmup=1: "]
    assert all(any(line.startswith(start) for line in found) for start in starts), found


# values


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epochs", -1, "at least 0"),
        ("train.epochs", 2.5, "a whole number"),
        ("train.epochs", "many", "a whole number"),
        ("train.epochs", True, "a whole number"),
        ("train.epochs", None, "a whole number"),
        ("train.max_steps", 0, "at least 1 or null"),
        ("train.max_steps", "x", "a whole number or null"),
        ("train.lr", float("nan"), "0 to 10"),
        ("train.lr", "nan", "0 to 10"),
        ("train.lr", float("inf"), "0 to 10"),
        ("train.lr", -0.1, "0 to 10"),
        ("train.lr", True, "a number"),
        ("train.lr", None, "a number"),
        ("train.lr", [1], "a number"),
        ("train.lr", "fast", "a number"),
        ("decoder.dropout", 0.96, "0 to 0.95"),
        ("train.label_smoothing", 1, "0 to 0.9"),
        ("images.size", 31, "at least 32"),
        ("decoder.kind", "lstn", "rnn | lstm | gru | transformer. Did you mean 'lstm'?"),
        ("decoder.kind", ["lstm"], "rnn | lstm"),
        ("train.precision", 32, "auto | 32-true | bf16-mixed | 16-mixed"),
        ("train.devices", [0], "a whole number or a word or a path"),
        ("seed", -1, "at least 0"),
        ("name", None, "a word or a path"),
        ("name", True, "a word or a path"),
        ("name", " ", "a word or a path"),
        ("name", {"a": 1}, "a word or a path"),
        ("data.path", "", "a word or a path"),
        ("data.path", {"a": "b"}, "a word or a path"),
        ("data.path", ["a", None], "a word or a path"),
        ("data.path", ["a", ["b"]], "a word or a path"),
    ],
)
def test_wrong_values(key: str, value: Any, expected: str) -> None:
    section, _, last = key.rpartition(".")
    (said,) = problems_of({section: {last: value}} if section else {last: value})
    assert said.startswith(f"{key}=")
    assert f": expected {expected}" in said


@pytest.mark.parametrize("part", ["0/3", "4/3", "1/1", "1", "third", "-1/3", "1/3/5", "1/", 0.5])
@pytest.mark.parametrize("key", ["only", "leave_out"])
def test_parts_that_are_none(key: str, part: Any) -> None:
    (said,) = problems_of({"data": {key: part}})
    assert said.startswith(f"data.{key}={part}: expected K/N, the K-th of N equal parts of the training photos")


def test_a_part_is_used_or_left_out() -> None:
    assert Recipe.from_dict({"data": {"only": "3/3"}}).data.only == "3/3"
    (said,) = problems_of({"data": {"only": "1/3", "leave_out": "2/3"}})
    assert said == "data.only=1/3: cannot be combined with data.leave_out=2/3; leave one of them out"
    assert Recipe.from_dict({"data": {"only": "boxed"}}).data.only == "boxed"


def test_values_that_are_fine() -> None:
    recipe = Recipe.from_dict(
        {
            "name": 7,
            "out": None,
            "data": {"path": "one", "limit": None},
            "train": {"lr": "1e-3", "max_steps": 5, "devices": 2, "clip": 0},
            "decoder": None,
        }
    )
    assert recipe.name == "7"
    assert recipe.folder == "runs/7"
    assert recipe.data.path == ("one",)
    assert recipe.train == TrainSection(lr=0.001, max_steps=5, devices=2, clip=0.0)
    assert isinstance(recipe.train.clip, float)
    assert Recipe.from_dict({"data": {"path": None}}).data.path == ()
    assert Recipe.from_dict({"out": "there"}).folder == "there"
    assert Recipe.from_dict({}) == Recipe()


def test_round_trip_through_yaml(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({"name": "é", "data": {"path": ["a", "b c"]}, "train": {"lr": 1e-5, "patience": 2}})
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    path = tmp_path / "again.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert set(recipe.to_dict()["train"]) == set(TrainSection.__dataclass_fields__)


# files and overrides


def test_yaml_reads_numbers_as_people_write_them(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert recipe.train.lr == 0.001
    assert recipe.name == "mine"
    assert recipe.train.batch_size == TrainSection().batch_size


def test_overrides_are_laid_on_top(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        ["train.lr=2e-4", "data.path=[a, b]", "data.limit=null", "out=runs/x=y", "tokens.min_count=2", "train.lr=3e-4"],
    )
    assert recipe.train.lr == 0.0003, "the last one counts"
    assert recipe.train.epochs == 7, "other keys of the section stay"
    assert recipe.data.path == ("a", "b")
    assert recipe.out == "runs/x=y"
    assert recipe.tokens.min_count == 2
    assert load_recipe(recipe_file, ["out=*[odd: text"]).out == "*[odd: text"


ODD = ["/x/my data #1", "&x", "*x", "!x", "a: b", "- x", "%x", "@x", "{a}", "[a", "'x'", '"x"', "x ", "# x", "a\nb"]
ODD += ["001", "1e3", "2024-01-01", "2024-99-99", "true", "no", "~x", "1_000", "0x10", "9" * 5000]


@pytest.mark.parametrize("key", ["name", "out", "data.path", "embedding.path", "train.init", "encoder.weights"])
@pytest.mark.parametrize("typed", ODD)
def test_names_and_paths_are_the_text_that_was_typed(recipe_file: Path, key: str, typed: str) -> None:
    if len(typed) > LONGEST_TEXT:
        with pytest.raises(RecipeError, match=rf"{key}=.*: expected at most 4,096 characters"):
            load_recipe(recipe_file, [f"{key}={typed}"])
        return
    recipe = load_recipe(recipe_file, [f"{key}={typed}"], check_together=False)
    assert flatten(recipe.to_dict())[key] in (typed, [typed])
    written = Recipe.from_dict(yaml.safe_load(recipe.to_yaml()), check_together=False)
    assert written == recipe, "as it is written into the run's folder"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("[a, b]", ("a", "b")),
        ("[/x/a #1,/y/b: c,&d]", ("/x/a #1", "/y/b: c", "&d")),
        ("""['a, b', "c\\"d",'e''f' ]""", ("a, b", 'c"d', "e'f")),
        ("['a'b, it's]", ("'a'b", "it's")),
        ("[a,]", ("a",)),
        ("[]", ()),
        ("null", ()),
        ("", ()),
        ("a,b", ("a,b",)),
    ],
)
def test_lists_of_paths(recipe_file: Path, typed: str, expected: tuple[str, ...]) -> None:
    assert load_recipe(recipe_file, [f"data.path={typed}"]).data.path == expected


def test_numbers_and_nothing_are_read_as_before(recipe_file: Path) -> None:
    typed = ["encoder.layer=-2", "train.devices=2", "encoder.finetune=3", "train.max_steps=null", "out=null"]
    recipe = load_recipe(recipe_file, [*typed, "images.augment=yes", "train.lr=1e-3", "data.limit="])
    assert (recipe.encoder.layer, recipe.train.devices, recipe.encoder.finetune) == (-2, 2, 3)
    assert (recipe.train.max_steps, recipe.out, recipe.data.limit) == (None, None, None)
    assert (recipe.images.augment, recipe.train.lr) == (True, 0.001)
    assert load_recipe(recipe_file, ["encoder.layer=layer3"]).encoder.layer == "layer3"
    assert load_recipe(recipe_file, ["train.devices=0,1"]).train.devices == "0,1"


@pytest.mark.parametrize("seed", ["18446744073709551616", "2**64", "9" * 5000, "1e3"])
def test_seeds_that_are_none(recipe_file: Path, seed: str) -> None:
    with pytest.raises(RecipeError, match=r"seed=.*: expected (a whole number|at most)"):
        load_recipe(recipe_file, [f"seed={seed}"])


def test_names_in_a_file_are_the_text_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: 007\nout: 1e3\ndata: {path: [2024-01-01, 0x10], splits: null}\nseed: 007\n")
    with pytest.raises(RecipeError, match=r"data\.splits=null: expected a word or a path"):
        load_recipe(path)
    recipe = load_recipe(path, ["data.splits=auto"])
    assert (recipe.name, recipe.out, recipe.data.path, recipe.seed) == ("007", "1e3", ("2024-01-01", "0x10"), 7)


def test_override_into_an_empty_section(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("train:\n  # nothing yet\n", encoding="utf-8")
    assert load_recipe(path).train == TrainSection()
    assert load_recipe(path, ["train.epochs=3"]).train.epochs == 3


def test_bad_overrides_are_all_said(recipe_file: Path) -> None:
    overrides = ["--fast", "=3", "batch_size=3", "train.lr.x=1", "train.lr=high", "train=5.lr"]
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_file, overrides[:-1])
    text = str(caught.value)
    assert "'--fast': expected key=value, such as train.lr=0.001" in text
    assert "'=3': expected key=value" in text
    assert "batch_size: no such key. Did you mean 'train.batch_size'?" in text
    assert "'train.lr.x=1': lr is a value, not a section" in text
    assert "train.lr=high: expected a number" in text
    with pytest.raises(RecipeError, match=r"train=5\.lr: expected keys and values"):
        load_recipe(recipe_file, overrides[-1:])


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.data.path == ()
    assert find_recipe(name).suffix == ".yaml"


def test_pieces_of_words_may_come_twice() -> None:
    [said] = problems_of({"search": {"block_words": True}, "tokens": {"kind": "bpe"}})
    assert said.startswith("search.block_words=true: would block subwords that different words share")


def test_a_recipe_of_before_a_key_was_a_list_is_the_same_recipe() -> None:
    """Runs are resumed and compared by these keys."""
    new = flat_recipe(Recipe().to_dict())
    assert flat_recipe({"train": {"init": None}}) == new
    assert flat_recipe({"train": {"init": "a"}, "data": {"path": ["b"]}}) == new | {
        "train.init": ["a"],
        "data.path": ["b"],
    }


def test_flickr_recipes_are_packaged() -> None:
    assert {"flickr8k", "flickr30k"} <= set(packaged_recipes())


def test_a_file_comes_before_a_packaged_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe("flickr8k").train.epochs != 99
    (tmp_path / "flickr8k").mkdir()  # a folder of that name is data, not a recipe
    assert load_recipe("flickr8k").train.epochs != 99
    (tmp_path / "flickr30k").write_text("train: {epochs: 99}", encoding="utf-8")
    assert load_recipe("flickr30k").train.epochs == 99


@pytest.mark.parametrize("name", ["flikr8k", "recipes/flickr8k.yml"])
def test_recipe_that_is_not_there(name: str) -> None:
    known = (
        "coco-best, flickr30k, flickr30k-best, flickr8k, flickr8k-best, flickr8k-critical, flickr8k-grounded, shapes"
    )
    with pytest.raises(RecipeError, match=rf"nor a packaged .*\(.*{known}.*\)\. Did you mean 'fl"):
        load_recipe(name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"train: [1, 2", "not YAML"),
        (b"a: b: c", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"- train\n- data\n", "expected keys and values, got list"),
        (b"just words", "expected keys and values, got str"),
        (b"train:\n  lr: 1\n  epochs: 2\n  lr: 3\n", "'lr' is given twice(.|\n)*line 4"),
        (b"train: {lr: 1}\ndata: {}\ntrain: {epochs: 2}\n", "'train' is given twice"),
        (b"!!python/object:os.system {}", "not YAML"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"bad\.yaml: (.|\n)*{said}"):
        load_recipe(path)


def test_empty_file_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("")
    assert load_recipe(path) == Recipe(name="plain")
    path.write_text("# only a remark\n")
    assert load_recipe(path) == Recipe(name="plain")
    path.write_text("seed: 4\n", encoding="utf-8-sig")
    assert load_recipe(path).seed == 4


# the docs


def test_docs_list_every_key_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \| (.+?) \| (.+) \|$", DOCS.read_text("utf-8"), flags=re.MULTILINE)
    defaults = {key: field.default for key, field, _ in flat_fields(Recipe)}
    assert [key for key, *_ in rows] == list(defaults)
    for key, default, _, meaning in rows:
        assert len(meaning) > 10
        assert yaml.safe_load(default.strip("`")) == to_mapping(defaults[key]), key


def test_the_tables_of_the_docs_are_made_from_the_fields() -> None:
    text = DOCS.read_text("utf-8")
    made = runpy.run_path(str(DOCS.parents[1] / "scripts" / "recipe_keys.py"))["with_tables"](text)
    assert made == text, "run python scripts/recipe_keys.py"


@pytest.mark.parametrize("cls", [Recipe, *(type(value) for value in vars(Recipe()).values() if is_dataclass(value))])
def test_every_field_has_its_meaning_below_it(cls: type) -> None:
    plain = [field.name for field in fields(cls) if not is_dataclass(getattr(cls(), field.name))]
    assert list(meanings(cls)) == plain
    assert all(text.endswith((".", ")")) and len(text) > 10 for text in meanings(cls).values())


# two names


ALIASES = [
    ("train", "bag_of_words", "words_seen", 0.5),
    ("train", "expectation_share", "half_soft", 0.25),
    ("search", "no_repeat_words", "block_words", True),
]


def test_second_names() -> None:
    assert aliases(Recipe) == {f"{section}.{alias}": f"{section}.{key}" for section, alias, key, _ in ALIASES}


@pytest.mark.parametrize(("section", "alias", "key", "value"), ALIASES)
def test_a_second_name_means_the_same_key(section: str, alias: str, key: str, value: Any, tmp_path: Path) -> None:
    values = {"encoder": {"finetune": 1}, section: {alias: value}}
    recipe = Recipe.from_dict(values)
    assert recipe == Recipe.from_dict({"encoder": {"finetune": 1}, section: {key: value}})
    assert key in recipe.to_dict()[section]
    assert alias not in recipe.to_dict()[section]
    assert flat_recipe(values) == flat_recipe(recipe.to_dict())
    assert known_values(values, []) == recipe.to_dict()
    file = tmp_path / "mine.yaml"
    file.write_text(f"encoder: {{finetune: 1}}\n{section}: {{{alias}: {value}}}\n", encoding="utf-8")
    assert load_recipe(file) == replace(recipe, name="mine")


@pytest.mark.parametrize(("section", "alias", "key", "value"), ALIASES)
def test_a_key_under_both_names_is_refused(section: str, alias: str, key: str, value: Any, tmp_path: Path) -> None:
    both = f"{section}.{alias} and {section}.{key} are two names of one key: give one of them"
    for names in ((alias, key), (key, alias)):
        assert both in problems_of({section: dict.fromkeys(names, value), "encoder": {"finetune": 1}})
    with pytest.raises(RecipeError, match=re.escape(both)):
        load_recipe("flickr8k", [f"{section}.{alias}={value}", f"{section}.{key}={value}", "encoder.finetune=1"])


@pytest.mark.parametrize(("in_file", "typed"), [("bag_of_words", "words_seen"), ("words_seen", "bag_of_words")])
def test_an_override_counts_under_either_name(in_file: str, typed: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"encoder: {{finetune: 1}}\ntrain: {{{in_file}: 0.5}}\n", encoding="utf-8")
    assert load_recipe(file, [f"train.{typed}=0.25"]).train.words_seen == 0.25


def test_a_wrong_value_is_named_as_it_was_given() -> None:
    assert problems_of({"train": {"bag_of_words": -1}}) == ["train.bag_of_words=-1: expected 0 to 100"]
    (said,) = problems_of({"train": {"bag_of_word": 1}})
    assert said.endswith("Did you mean 'train.bag_of_words'?")


# marks of keys


def test_keys_that_describe_the_model() -> None:
    """A new key of the model needs the mark, or a run starts from a model that is not its own."""
    sections = ("images.size", "encoder.", "tokens.", "embedding.", "attention.", "decoder.")
    training = {"encoder.weights", "encoder.finetune", "encoder.lr", "embedding.path", "embedding.train"}
    training |= {"tokens.min_count", "tokens.vocab_size", "attention.kind", "decoder.dropout"}
    keys = [key for key, *_ in flat_fields(Recipe) if key.startswith(sections)]
    assert [key for key in keys if key not in training] == list(keys_with("of_model"))


def test_marks_agree() -> None:
    assert set(keys_with("changes_result")) < set(keys_with("may_change"))
    assert set(keys_with("chooses_sentences")) < set(keys_with("may_change"))
    assert not set(keys_with("of_model")) & set(keys_with("may_change"))
    assert keys_with("per_run") == ("name", "out")


@pytest.mark.parametrize(
    "override", ["{image: pic, caption: [one, two]}", "[image=pic, caption=one+two]", '"image=pic,caption=one+two"']
)
def test_columns_are_a_mapping_or_a_list(override: str) -> None:
    from seesay.data.readers.columns import Columns

    recipe = load_recipe("flickr8k", [f"data.columns={override}"])
    assert Columns.parse(recipe.data.columns) == Columns("pic", ("one", "two"))
    assert Recipe.from_dict(recipe.to_dict()) == recipe
