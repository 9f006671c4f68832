"""Reading data sets: every layout, what is repaired, dropped and said, and the splits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from seesay.data.readers import read_dataset
from seesay.data.records import Dataset
from seesay.data.split_lists import photo_number
from seesay.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared"
HEADER = "image_name| comment_number| comment\n"


def photo(path: Path, shade: int = 0, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (shade, shade, shade)).save(path)
    return path


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def flickr30k(root: Path, rows: str, names: Iterable[str], header: str = HEADER) -> Path:
    write(root / "flickr30k_images/results.csv", header + rows)
    for name in names:
        photo(root / "flickr30k_images/flickr30k_images" / name)
    return root


def own(root: Path, photos: dict[str, str], captions: str = "a dog") -> Path:
    """A folder of one's own: {photo: split}."""
    lines = [f"{name},{captions},{split}\n" for name, split in photos.items()]
    write(root / "captions.csv", "image,caption,split\n" + "".join(lines))
    for name in photos:
        photo(root / name)
    return root


def captions_of(data: Dataset) -> dict[str, tuple[str, ...]]:
    return {record.id: record.captions for record in data.records}


def splits_of(data: Dataset) -> dict[str, str]:
    return {record.id: record.split for record in data.records}


def said(data: Dataset, kind: str) -> list[str]:
    return [str(problem) for problem in data.problems if problem.kind == kind]


# ---- Flickr30k


ROWS = '1.jpg| 0|  A "red" dog ; barks , | or not . \n1.jpg| 1| Two\n2.jpg| 0| A cat\n'
READ = {"1": ('A "red" dog ; barks , | or not .', "Two"), "2": ("A cat",)}


@pytest.mark.parametrize("pointed_at", ["", "flickr30k_images", "flickr30k_images/flickr30k_images"])
def test_flickr30k_is_read_from_its_outer_and_inner_folders(tmp_path: Path, pointed_at: str) -> None:
    flickr30k(tmp_path, ROWS, ["1.jpg", "2.jpg"])
    data = read_dataset(tmp_path / pointed_at)
    assert (data.layout, captions_of(data)) == ("flickr30k", READ)
    assert all(record.image.is_file() for record in data.records)


@pytest.mark.parametrize("pointed_at", ["", "flickr30k_images", "flickr30k_images/flickr30k_images"])
def test_flickr30k_nested_once_more(tmp_path: Path, pointed_at: str) -> None:
    flickr30k(tmp_path / "flickr30k_images", ROWS, ["1.jpg", "2.jpg"])
    assert captions_of(read_dataset(tmp_path / pointed_at)) == READ


def test_flickr30k_photos_one_folder_deeper_than_usual(tmp_path: Path) -> None:
    flickr30k(tmp_path, ROWS, ["flickr30k_images/1.jpg", "flickr30k_images/2.jpg"])
    assert captions_of(read_dataset(tmp_path)) == READ


def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    text = "\ufeff" + (HEADER + ROWS).replace("\n", "\r\n")
    flickr30k(tmp_path, text, ["1.jpg", "2.jpg"], header="")
    assert captions_of(read_dataset(tmp_path)) == READ


def test_row_without_its_bar_is_repaired_and_reported_with_file_and_row(tmp_path: Path) -> None:
    flickr30k(tmp_path, "1.jpg| 3| One\n1.jpg| 4   A dog runs | fast .\n", ["1.jpg"])
    data = read_dataset(tmp_path)
    assert captions_of(data) == {"1": ("One", "A dog runs | fast .")}
    (repaired,) = said(data, "repaired")
    assert "flickr30k_images/results.csv:3:" in repaired
    assert not said(data, "error")


def test_hopeless_row_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    flickr30k(tmp_path, "1.jpg| 0| One\n1.jpg A dog\n\n1.jpg| two| Three\n1.jpg| 3| Four\n", ["1.jpg"])
    data = read_dataset(tmp_path)
    assert captions_of(data) == {"1": ("One", "Four")}
    assert [line.split(":")[2] for line in said(data, "error")] == ["3", "5"]


def test_flickr30k_columns_that_miss_are_named(tmp_path: Path) -> None:
    flickr30k(tmp_path, "1.jpg| One\n", ["1.jpg"], header="image_name| comment\n")
    with pytest.raises(DataError, match=r"found: image_name, comment; expected: image_name\| comment_number\| comment"):
        read_dataset(tmp_path)


def test_karpathys_ids_are_flickr30ks_own_split(tmp_path: Path) -> None:
    # 1007129816 is in Karpathy's test, 1000092795 in train, 123 in none.
    names = ["1007129816.jpg", "1000092795.jpg", "123.jpg"]
    flickr30k(tmp_path, "".join(f"{name}| 0| A dog\n" for name in names), names)
    for splits in ("auto", "karpathy"):
        data = read_dataset(tmp_path, splits=splits)
        assert splits_of(data) == {"1007129816": "test", "1000092795": "train", "123": ""}
        (partial,) = [line for line in said(data, "note") if "Karpathy" in line]
        assert "31,012 ids" in partial and len(partial) < 200


def test_karpathys_ids_on_other_photos_are_refused_when_asked_for(tmp_path: Path) -> None:
    flickr30k(tmp_path, ROWS, ["1.jpg", "2.jpg"])
    with pytest.raises(DataError, match="Karpathy's Flickr30k ids name none of the 2 photos"):
        read_dataset(tmp_path, splits="karpathy")


# ---- Flickr8k


def flickr8k(root: Path, rows: str, names: Iterable[str]) -> Path:
    write(root / "captions.txt", "image,caption\n" + rows)
    for shade, name in enumerate(names):
        photo(root / "Images" / name, shade)
    return root


def test_flickr8k_captions_with_commas_and_quotes(tmp_path: Path) -> None:
    rows = 'a.jpg,"A ball , red ."\na.jpg,"He says ""hi"" ."\nb.jpg,A 5" pipe\nb.jpg,Plain\n'
    data = read_dataset(flickr8k(tmp_path, rows, ["a.jpg", "b.jpg"]))
    assert data.layout == "flickr8k"
    assert captions_of(data) == {"a": ("A ball , red .", 'He says "hi" .'), "b": ('A 5" pipe', "Plain")}
    assert not said(data, "error") + said(data, "repaired")


def test_unclosed_quote_swallows_no_other_row(tmp_path: Path) -> None:
    rows = 'a.jpg,"Unclosed\nb.jpg,Second\nb.jpg,"Over\r\ntwo lines"\nb.jpg,"Last\n'
    data = read_dataset(flickr8k(tmp_path, rows, ["a.jpg", "b.jpg"]))
    assert captions_of(data) == {"a": ("Unclosed",), "b": ("Second", "Over two lines", "Last")}
    assert [line.split(":")[2] for line in said(data, "repaired")] == ["2", "6"]


def test_quote_that_is_never_closed_keeps_to_its_line(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", 'caption,image\n"Unclosed,a.png\nFine,b.png\n')
    photo(tmp_path / "b.png")
    data = read_dataset(tmp_path)
    assert captions_of(data) == {"b": ("Fine",)}
    assert "captions.csv:2: 1 values, expected 2" in said(data, "error")[0]


def test_commas_without_quotes_are_kept_and_reported(tmp_path: Path) -> None:
    data = read_dataset(flickr8k(tmp_path, "a.jpg,A dog, a cat, a cow\na.jpg\n", ["a.jpg"]))
    assert captions_of(data) == {"a": ("A dog, a cat, a cow",)}
    assert "captions.txt:2:" in said(data, "repaired")[0]
    assert "captions.txt:3:" in said(data, "error")[0]


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "dev.txt", "test.txt"),
        ("train.txt", "val.txt", "test.txt"),
        ("Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt", "Flickr_8k.testImages.txt"),
    ],
)
def test_id_lists_beside_the_captions_give_the_splits(tmp_path: Path, names: tuple[str, str, str]) -> None:
    flickr8k(tmp_path, "".join(f"{name}.jpg,A dog\n" for name in "abcd"), [f"{name}.jpg" for name in "abcd"])
    for name, ids in zip(names, ("a.jpg\r\n", "b\n", "c.jpg"), strict=True):
        write(tmp_path / name, ids)
    data = read_dataset(tmp_path)
    assert splits_of(data) == {"a": "train", "b": "dev", "c": "test", "d": ""}
    assert said(data, "note") == ["note: splits: 1 photo in no split"]


def test_lists_in_a_folder_elsewhere_override_those_beside(tmp_path: Path) -> None:
    flickr8k(tmp_path / "data", "a.jpg,A dog\nb.jpg,A cat\n", ["a.jpg", "b.jpg"])
    write(tmp_path / "data/train.txt", "a\nb\n")
    write(tmp_path / "mine/train.txt", "b.jpg\n")
    write(tmp_path / "mine/test.txt", "a.jpg\n")
    data = read_dataset(tmp_path / "data", splits=tmp_path / "mine")
    assert splits_of(data) == {"a": "test", "b": "train"}


def test_lists_tell_photos_of_one_name_apart_by_their_folder(tmp_path: Path) -> None:
    own(tmp_path, {"x/1.png": "", "y/1.png": "", "z/2.png": ""})
    write(tmp_path / "train.txt", "x/1.png\n2\n")
    write(tmp_path / "test.txt", "y/1\n")
    assert splits_of(read_dataset(tmp_path)) == {"x/1": "train", "y/1": "test", "z/2": "train"}
    write(tmp_path / "train.txt", "1.png\n")
    data = read_dataset(tmp_path)
    assert splits_of(data) == {"x/1": "", "y/1": "test", "z/2": ""}
    assert any("train.txt: 1 id without a photo" in note for note in said(data, "note"))


def test_id_in_two_lists_stays_in_the_one_that_is_measured_on(tmp_path: Path) -> None:
    flickr8k(tmp_path, "a.jpg,A dog\nb.jpg,A cat\n", ["a.jpg", "b.jpg"])
    write(tmp_path / "train.txt", "a\nb.jpg\n")
    write(tmp_path / "test.txt", "a.jpg\n")
    data = read_dataset(tmp_path)
    assert splits_of(data) == {"a": "test", "b": "train"}
    assert said(data, "error") == ["error: train.txt: 1 id also in test.txt, kept there (a)"]


def test_listed_ids_without_captions_are_one_line(tmp_path: Path) -> None:
    flickr8k(tmp_path, "a.jpg,A dog\n", ["a.jpg"])
    write(tmp_path / "train.txt", "a.jpg\n" + "".join(f"gone{i}.jpg\n" for i in range(5000)))
    (note,) = said(read_dataset(tmp_path), "note")
    assert note.startswith("note: train.txt: 5,000 ids") and "gone0.jpg, gone1.jpg" in note and len(note) < 200


# ---- COCO


def coco(root: Path, name: str, photos: dict[int, str], notes: list[dict[str, object]]) -> None:
    images = [{"id": id_, "file_name": file} for id_, file in photos.items()]
    write(root / f"annotations/captions_{name}.json", json.dumps({"images": images, "annotations": notes}))


@pytest.mark.parametrize("folder", ["images", "{split}2017", "images/{split}2017", "."])
def test_coco_splits_come_from_the_files_names(tmp_path: Path, folder: str) -> None:
    # Both splits have a 1.jpg of their own where each has a folder of its own.
    shared = "{split}" not in folder
    names = {"train": "1.jpg", "val": "2.jpg" if shared else "1.jpg"}
    for split, name in names.items():
        notes: list[dict[str, object]] = [
            {"image_id": 7, "caption": f"{split} one\n"},
            {"image_id": 7, "caption": "two"},
        ]
        coco(tmp_path, f"{split}2017", {7: name}, notes)
        photo(tmp_path / folder.format(split=split) / name)
    data = read_dataset(tmp_path)
    assert data.layout == "coco" and not data.problems
    assert {record.split: record.captions for record in data.records} == {
        "train": ("train one", "two"),
        "dev": ("val one", "two"),
    }
    assert len({record.image for record in data.records}) == len({record.id for record in data.records}) == 2


def test_coco_annotations_that_fit_nothing_are_left_out(tmp_path: Path) -> None:
    coco(
        tmp_path,
        "val",
        {1: "1.jpg"},
        [{"image_id": 9, "caption": "x"}, {"image_id": 1}, {"image_id": 1, "caption": "y"}],
    )
    photo(tmp_path / "images/1.jpg")
    data = read_dataset(tmp_path)
    assert captions_of(data) == {"1": ("y",)}
    assert ["annotations[0]" in said(data, "error")[0], "annotations[1]" in said(data, "error")[1]] == [True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", r"captions_val\.json:1: not JSON"), ('{"images": []}', "keys found: images; expected .*annotations")],
)
def test_coco_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "annotations/captions_val.json", text)
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path)


# ---- a folder of one's own


@pytest.mark.parametrize("image", ["image", "file_name", "filename", "File"])
@pytest.mark.parametrize("caption", ["caption", "text", "description"])
def test_own_folder_with_any_usual_column_names(tmp_path: Path, image: str, caption: str) -> None:
    write(
        tmp_path / "captions.csv", f"{caption},{image},Split\nA dog,a.png,val\nA cat,b.png,train\nA hound,a.png,val\n"
    )
    photo(tmp_path / "a.png")
    photo(tmp_path / "images/b.png")
    data = read_dataset(tmp_path)
    assert data.layout == "folder"
    assert captions_of(data) == {"a": ("A dog", "A hound"), "b": ("A cat",)}
    assert splits_of(data) == {"a": "dev", "b": "train"}


def test_semicolons_as_spreadsheets_write_them(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image;caption\na.png;A dog, a cat\n")
    photo(tmp_path / "a.png")
    assert captions_of(read_dataset(tmp_path)) == {"a": ("A dog, a cat",)}


def test_missing_column_says_which_are_there(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image,words\na.png,A dog\n")
    with pytest.raises(DataError, match=r"captions\.csv: columns found: image, words; expected one named caption or"):
        read_dataset(tmp_path)


def test_unknown_split_in_a_row_is_reported(tmp_path: Path) -> None:
    data = read_dataset(own(tmp_path, {"a.png": "tarin", "b.png": "train"}))
    assert splits_of(data) == {"a": "", "b": "train"}
    assert "captions.csv:2: split 'tarin'" in said(data, "error")[0]


def test_hugging_face_metadata_at_the_top(tmp_path: Path) -> None:
    lines = [
        {"file_name": "train/1.png", "text": ["A dog", "A hound"]},
        {"file_name": "validation\\1.png", "text": "A cat"},
        {"file_name": "test/2.png", "caption": "A cow"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write(tmp_path / "metadata.jsonl", text + '{"file_name": "x.png"}\nno json\n\n[]\n{"text": "A dog"}\n')
    for line in lines:
        photo(tmp_path / str(line["file_name"]).replace("\\", "/"))
    data = read_dataset(tmp_path)
    assert captions_of(data) == {"train/1": ("A dog", "A hound"), "validation/1": ("A cat",), "test/2": ("A cow",)}
    assert splits_of(data) == {"train/1": "train", "validation/1": "dev", "test/2": "test"}
    assert [line.split(":")[2] for line in said(data, "error")] == ["4", "5", "7", "8"]


def test_hugging_face_metadata_in_each_subfolder(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write(tmp_path / split / "metadata.csv", f"file_name,text\n1.png,A {split} dog\n")
        photo(tmp_path / split / "1.png")
    data = read_dataset(tmp_path)
    assert captions_of(data)["validation/1"] == ("A validation dog",)
    assert splits_of(data) == {"train/1": "train", "validation/1": "dev", "test/1": "test"}


def test_photos_of_one_stem_have_ids_of_their_own(tmp_path: Path) -> None:
    data = read_dataset(own(tmp_path, {"a.png": "train", "a.jpg": "test", "b.jpg": "train"}))
    assert splits_of(data) == {"a.png": "train", "a.jpg": "test", "b": "train"}


def test_photo_in_two_splits_stays_in_the_one_that_is_measured_on(tmp_path: Path) -> None:
    own(tmp_path, {"a.png": "train", "b.png": "train"})
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("a.png,A hound,dev\n")
    data = read_dataset(tmp_path)
    assert splits_of(data) == {"a": "dev", "b": "train"}
    assert "'a.png' is in train and dev" in said(data, "error")[0]


# ---- the same checks everywhere


def test_empty_captions_go_and_photos_without_any(tmp_path: Path) -> None:
    flickr8k(tmp_path, "a.jpg,  \na.jpg,A dog\nb.jpg,\n,A cat\n", ["a.jpg", "b.jpg"])
    data = read_dataset(tmp_path)
    assert captions_of(data) == {"a": ("A dog",)}
    errors = "\n".join(said(data, "error"))
    assert "captions.txt:2: empty caption of 'a.jpg'" in errors and "captions.txt:4: empty caption" in errors
    assert "captions.txt:4: photo 'b.jpg' has no caption left" in errors and "captions.txt:5: no photo" in errors


def test_missing_photos_are_named_with_row_and_folder(tmp_path: Path) -> None:
    flickr8k(tmp_path, "a.jpg,A dog\ngone.jpg,A cat\ngone.jpg,A cow\n", ["a.jpg", "more.jpg"])
    write(tmp_path / "Images/Thumbs.db", "no photo")
    data = read_dataset(tmp_path)
    assert list(captions_of(data)) == ["a"]
    (error,) = said(data, "error")
    assert f"captions.txt:3: photo 'gone.jpg' is not in {tmp_path / 'Images'}" in error
    assert any("1 photo without captions" in note and "more.jpg" in note for note in said(data, "note"))


def test_a_folder_named_like_a_photo_is_none(tmp_path: Path) -> None:
    flickr8k(tmp_path, "a.jpg,A dog\nb.jpg,A cat\n", ["a.jpg"])
    (tmp_path / "Images/b.jpg").mkdir()
    assert list(captions_of(read_dataset(tmp_path))) == ["a"]


def test_repeated_captions_are_kept_and_counted(tmp_path: Path) -> None:
    data = read_dataset(flickr8k(tmp_path, "a.jpg,A dog\na.jpg,A dog\na.jpg,A cat\n", ["a.jpg"]))
    assert captions_of(data) == {"a": ("A dog", "A dog", "A cat")}
    assert any("1 repeated caption, kept" in note and "a.jpg" in note for note in said(data, "note"))


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    flickr8k(tmp_path, "a.jpg,A dog\nb.jpg,A cat\n", [])
    with pytest.raises(DataError, match=r"no photo with a caption(.|\n)*captions\.txt:2: photo 'a\.jpg' is not in"):
        read_dataset(tmp_path)


def test_text_that_is_not_utf8_names_the_row(tmp_path: Path) -> None:
    write(tmp_path / "captions.txt", b"image,caption\na.jpg,A caf\xe9\n")
    with pytest.raises(DataError, match=r"captions\.txt:2: not UTF-8"):
        read_dataset(tmp_path)


def test_no_layout_fits(tmp_path: Path) -> None:
    write(tmp_path / "notes.doc", "x")
    with pytest.raises(
        DataError, match=r"results\.csv.*captions\.txt.*captions_\*\.json.*metadata\.jsonl.*notes\.doc.*data\.layout"
    ):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        read_dataset(tmp_path / "notes.doc")


def test_layout_can_be_forced_and_misspelt(tmp_path: Path) -> None:
    own(tmp_path, {"a.png": "train"})
    flickr8k(tmp_path, "b.jpg,A cat\n", ["b.jpg"])
    assert read_dataset(tmp_path).layout == "flickr8k"
    assert any("read as flickr8k" in note and "folder" in note for note in said(read_dataset(tmp_path), "note"))
    assert list(captions_of(read_dataset(tmp_path, layout="folder"))) == ["a"]
    with pytest.raises(DataError, match=r"unknown layout 'flikr8k'.*Did you mean 'flickr8k'\?"):
        read_dataset(tmp_path, layout="flikr8k")
    with pytest.raises(
        DataError, match=r"Looked for coco: annotations/captions_\*\.json\. Found there: .*captions\.csv"
    ):
        read_dataset(tmp_path, layout="coco")


# ---- fractions and limit


def numbered(root: Path, count: int) -> Path:
    write(root / "captions.csv", "image,caption\n" + "".join(f"p{i}.png,A dog\n" for i in range(count)))
    for i in range(count):
        write(root / f"p{i}.png", b"")  # reading opens no photo
    return root


def test_without_splits_fractions_are_drawn_and_said(tmp_path: Path) -> None:
    data = read_dataset(numbered(tmp_path, 400))
    counts = data.counts()
    assert 290 < counts["train"] < 350 and 20 < counts["dev"] < 65 and 20 < counts["test"] < 65
    (note,) = said(data, "note")
    assert "the data has none" in note and "train 80%" in note


def test_photos_that_come_later_move_no_others(tmp_path: Path) -> None:
    before = splits_of(read_dataset(numbered(tmp_path, 200)))
    after = splits_of(read_dataset(numbered(tmp_path, 300)))
    assert before == {id_: after[id_] for id_ in before}


def test_who_trains_with_another_seed_tests_on_the_same_photos(tmp_path: Path) -> None:
    numbered(tmp_path, 200)
    assert read_dataset(tmp_path, seed=1) == read_dataset(tmp_path)
    assert read_dataset(tmp_path, splits="0.5/0.3/0.2", seed=1) == read_dataset(tmp_path, splits="0.5/0.3/0.2")


def test_fractions_asked_for(tmp_path: Path) -> None:
    numbered(tmp_path, 200)
    assert read_dataset(tmp_path, splits="0/0/1").counts() == {"test": 200}
    counts = read_dataset(tmp_path, splits={"train": 0.5, "validation": 0.25}).counts()
    assert 75 < counts["train"] < 125 and 30 < counts["dev"] < 70 and 30 < counts["(no split)"] < 70
    assert splits_of(read_dataset(tmp_path, splits="0.8/0.1/0.1")) == splits_of(read_dataset(tmp_path))


def test_fractions_of_a_handful_leave_no_split_empty(tmp_path: Path) -> None:
    for count in range(3, 12):
        assert set(read_dataset(numbered(tmp_path, count)).counts()) == {"train", "dev", "test"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("karpaty", "'karpaty' is no folder; .*Did you mean 'karpathy'"),
        ("0.8/0.2", "expected three fractions"),
        ("80/10/10", "at most 1"),
        ({"train": -1.0, "dev": 1.5}, "none below 0"),
        ({"tarin": 1.0}, "unknown split 'tarin'.*Did you mean 'train'"),
        (".", "has none of train.txt"),
    ],
)
def test_splits_that_make_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: str | dict[str, float], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read_dataset(numbered(tmp_path, 2), splits=splits)


def test_limit_takes_the_same_photos_of_each_split_every_time(tmp_path: Path) -> None:
    numbered(tmp_path, 200)
    small = read_dataset(tmp_path, limit=5)
    assert small.counts() == {"train": 5, "dev": 5, "test": 5}
    assert small == read_dataset(tmp_path, limit=5) and small.records != read_dataset(tmp_path, limit=5, seed=1).records
    assert splits_of(small).items() <= splits_of(read_dataset(tmp_path, limit=6)).items()
    trials = [read_dataset(tmp_path, splits="1/0/0", limit=5, seed=seed).records for seed in (0, 1)]
    assert trials[0] != trials[1]
    with pytest.raises(DataError, match="limit: got 0"):
        read_dataset(tmp_path, limit=0)


def test_names_that_macos_writes_in_another_form(tmp_path: Path) -> None:
    """é as one character in the list, as e and an accent on the disk, and the other way round."""
    composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
    for number, (written, stored) in enumerate([(composed, decomposed), (decomposed, composed)]):
        root = tmp_path / str(number)
        photo(root / stored)
        photo(root / "dog.png")
        write(root / "captions.csv", f"image,caption\n{written},a cup\ndog.png,a dog\n")
        write(root / "train.txt", "dog.png\n")
        write(root / "dev.txt", f"{stored}\n")
        data = read_dataset(root)
        assert [record.image.name for record in data.records] == [stored, "dog.png"]
        assert not data.problems and data.counts() == {"train": 1, "dev": 1}


def test_half_a_character_is_replaced_and_said(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "caption": "a dog \ud83d"}, {"image_id": 1, "caption": "a cat"}],
    }
    write(tmp_path / "annotations/captions_train2017.json", json.dumps(coco))
    photo(tmp_path / "train2017/a.png")
    data = read_dataset(tmp_path)
    assert captions_of(data)["a"] == ("a dog \N{REPLACEMENT CHARACTER}", "a cat")
    (repaired,) = said(data, "repaired")
    assert "half a character in a caption of 'a.png': replaced" in repaired


def test_a_name_that_is_no_text_gets_its_split(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        photo(tmp_path / name)
    except OSError:
        pytest.skip("this file system has no such names")
    write(tmp_path / "metadata.jsonl", json.dumps({"file_name": name, "text": "a cup"}) + "\n")
    assert sum(read_dataset(tmp_path, splits="0.8/0.1/0.1").counts().values()) == 1


@pytest.mark.parametrize("ends", ["\r", "\r\n", "\n"])
def test_any_line_ends(tmp_path: Path, ends: str) -> None:
    write(tmp_path / "captions.csv", ends.join(["image,caption", "a.png,A dog", "b.png,A cat", ""]))
    for name in ("a.png", "b.png"):
        photo(tmp_path / name)
    assert captions_of(read_dataset(tmp_path)) == {"a": ("A dog",), "b": ("A cat",)}


def test_a_stray_carriage_return_in_the_header(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    write(tmp_path / "captions.csv", "image,cap\rtion\na.png,A dog\n")
    with pytest.raises(DataError, match="columns found: "):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    "name", ["data:image/jpeg;base64,/" + 5000 * "9j/", "a\0b/c.png", "\ud83d/x.png", 300 * "a" + "/b.png"]
)
def test_names_that_no_file_can_have_are_photos_that_are_missing(tmp_path: Path, name: str) -> None:
    photo(tmp_path / "a.png")
    rows = [{"file_name": "a.png", "text": "a dog"}, {"file_name": name, "text": "a cat"}]
    write(tmp_path / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = read_dataset(tmp_path)
    assert list(captions_of(data)) == ["a"]
    (error,) = said(data, "error")
    assert "left out with 1 caption" in error


def test_repeated_captions_of_photos_with_one_name_are_all_counted(tmp_path: Path) -> None:
    for part, captions in (("train", ["a dog", "a dog"]), ("validation", ["a cat", "a cat"]), ("test", ["a cow"])):
        write(tmp_path / part / "metadata.csv", "file_name,text\n" + "".join(f"1.png,{each}\n" for each in captions))
        photo(tmp_path / part / "1.png")
    (note,) = said(read_dataset(tmp_path), "note")
    assert "2 repeated captions, kept (photos 1.png, 1.png)" in note


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("1000268201_693b08cb0e.jpg", "1000268201"),
        ("10815824_2997e03d76.jpg", "10815824"),
        ("1000268201_6930806002.jpg", "1000268201"),
        ("1000268201.jpg", "1000268201"),  # of Flickr30k
        ("000000000042.jpg", "000000000042"),
        ("COCO_val2014_000000581929.jpg", "000000581929"),
        ("20240101_15302511.jpg", ""),
        ("202401011530.jpg", ""),
        ("12345678.jpg", ""),
        ("cover.jpg", ""),
    ],
)
def test_numbers_that_name_a_photo_anywhere(name: str, key: str) -> None:
    assert photo_number(name) == key


# ---- several sources


def test_several_sources_keep_their_ids_apart(tmp_path: Path) -> None:
    own(tmp_path / "mine", {"0001.png": "train"})
    own(tmp_path / "yours/mine", {"0001.png": "train"})
    flickr8k(tmp_path / "f8k", "a.jpg,\nb.jpg,A dog\n", ["a.jpg", "b.jpg"])
    data = read_dataset([tmp_path / "mine", tmp_path / "yours/mine", tmp_path / "f8k"])
    assert [record.id for record in data.records] == ["mine/0001", "mine-2/0001", "f8k/b"]
    assert data.layout == "folder+folder+flickr8k"
    assert any("f8k/captions.txt:2: empty caption" in line for line in said(data, "error"))


def test_training_photos_held_out_elsewhere_are_dropped(tmp_path: Path) -> None:
    mine = {
        "1000268201_693b08cb0e.jpg": "train",
        "copy.png": "train",
        "0001.png": "train",
        "fine.png": "train",
        "20240101.png": "train",
        "cover.png": "train",
        "own/fine.png": "test",
    }
    mine["COCO_train2014_000000000042.jpg"] = "train"
    yours = {
        "1000268201.jpg": "test",
        "other_name.png": "dev",
        "0001.png": "test",
        "20240101.png": "test",
        "cover.png": "dev",
        "held.png": "test",
        "000000000042.jpg": "dev",
    }
    own(tmp_path / "mine", mine)
    own(tmp_path / "yours", yours)
    alone = ["mine/own/fine.png", "mine/fine.png", "yours/held.png"]
    both = ["0001.png", "20240101.png", "cover.png"]  # a counter, a date, a habit: not one photo
    for shade, name in enumerate(alone + [f"{source}/{name}" for source in ("mine", "yours") for name in both]):
        photo(tmp_path / name, shade + 1)
    for name in ("1000268201_693b08cb0e.jpg", "COCO_train2014_000000000042.jpg"):
        photo(tmp_path / "mine" / name, side=30)  # the other source has it at another size
    data = read_dataset([tmp_path / "mine", tmp_path / "yours"])
    kept = {id_.removeprefix("mine/") for id_ in splits_of(data) if id_.startswith("mine")}
    assert kept == {"0001", "20240101", "cover", "fine", "own/fine"}
    assert sum(id_.startswith("yours") for id_ in splits_of(data)) == 7
    (note,) = said(data, "note")
    assert "3 training photos" in note and "mine/copy" in note


# ---- the real data


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not here")
    return SHARED / name


def test_real_flickr30k() -> None:
    data = read_dataset(shared("flickr30k_sample"))
    assert data.counts() == {"train": 201, "dev": 40, "test": 40}
    assert [problem.where for problem in data.problems if problem.kind == "repaired"] == [
        "flickr30k_images/results.csv:441"
    ]
    assert captions_of(data)["2199200615"][4] == "A dog runs across the grass ."
    assert not said(data, "error")


def test_real_flickr8k_and_coco_and_their_overlap() -> None:
    flickr8k, coco = read_dataset(shared("flickr8k")), read_dataset(shared("coco_part"))
    assert (flickr8k.counts(), coco.counts()) == ({"train": 6000, "dev": 1000}, {"train": 2600, "dev": 500})
    assert sum(len(record.captions) for record in flickr8k.records) == 35000
    assert not said(flickr8k, "error") + said(coco, "error") + said(flickr8k, "repaired")
    both = read_dataset([shared("flickr8k"), shared("flickr30k_sample")])
    held_out = {record.image.stem for record in both.records if record.split in ("dev", "test")}
    train = [record.image.stem.split("_")[0] for record in both.records if record.split == "train"]
    assert not held_out & set(train)
    assert len(both.records) < 7281
