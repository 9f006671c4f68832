"""Every layout that people bring, each as its own files have it: counts, captions, splits, and what is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seesay.data.readers import read_dataset
from seesay.data.records import Dataset
from seesay.errors import DataError

PHOTOS = 6
SPLITS = ("train", "train", "train", "train", "val", "test")


def photo(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 2 * shade, 255 - shade)).save(path)
    return path


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding, newline="")
    return path


def write_json(path: Path, value: Any) -> Path:
    return write(path, json.dumps(value))


def name(number: int) -> str:
    return f"{1000268201 + number}_693b08cb0e.jpg"


def captions(number: int) -> list[str]:
    return [f"A dog, number {number}", f"Dog {number} runs"]


def photos(folder: Path, numbers: range = range(PHOTOS)) -> None:
    for number in numbers:
        photo(folder / name(number), number)


def said(data: Dataset, kind: str = "") -> list[str]:
    return [str(problem) for problem in data.problems if kind in ("", problem.kind)]


def check(data: Dataset, layout: str, splits: bool = True) -> None:
    """All photos with both captions, in their splits, and nothing amiss."""
    assert data.layout == layout
    assert {record.image.name for record in data.records} == {name(number) for number in range(PHOTOS)}
    by_name = {record.image.name: record for record in data.records}
    for number in range(PHOTOS):
        assert list(by_name[name(number)].captions) == captions(number)
        if splits:
            assert by_name[name(number)].split == {"val": "dev"}.get(SPLITS[number], SPLITS[number])
    assert all(record.image.is_file() for record in data.records)
    assert not said(data, "error")


# ---- Flickr


def flickr_lists(folder: Path, prefix: str) -> None:
    for split, word in (("train", "train"), ("val", "dev"), ("test", "test")):
        names = [name(number) for number in range(PHOTOS) if SPLITS[number] == split]
        write(folder / f"{prefix}.{word}Images.txt", "\n".join(names) + "\n")


def test_flickr30k_as_kaggle_has_it_with_commas(tmp_path: Path) -> None:
    rows = [f"{name(n)},{k}, {text}" for n in range(PHOTOS) for k, text in enumerate(captions(n))]
    write(tmp_path / "captions.txt", "image_name,comment_number,comment\n" + "\n".join(rows) + "\n")
    photos(tmp_path / "Images")
    data = read_dataset(tmp_path)
    check(data, "flickr30k", splits=False)
    assert len(said(data, "repaired")) == PHOTOS  # a comma in one caption of two, without quotes


def test_flickr30k_with_lists_beside_its_results(tmp_path: Path) -> None:
    rows = [f"{name(n)}| {k}| {text}" for n in range(PHOTOS) for k, text in enumerate(captions(n))]
    write(tmp_path / "results.csv", "image_name| comment_number| comment\n" + "\n".join(rows) + "\n")
    photos(tmp_path / "flickr30k_images")
    flickr_lists(tmp_path, "Flickr_30k")
    check(read_dataset(tmp_path), "flickr30k")


@pytest.mark.parametrize(
    ("file", "layout"), [("Flickr8k.token.txt", "flickr8k"), ("results_20130124.token", "flickr30k")]
)
def test_the_original_token_files(tmp_path: Path, file: str, layout: str) -> None:
    rows = [f"{name(n)}#{k}\t{text}" for n in range(PHOTOS) for k, text in enumerate(captions(n))]
    write(tmp_path / "Flickr_text" / file, "\n".join(rows) + "\nno row\n")
    write(tmp_path / "Flickr_text/Flickr8k.lemma.token.txt", "\n".join(rows).lower())
    write(tmp_path / "Flickr_text/ExpertAnnotations.txt", f"{name(0)}\t{name(1)}#2\t1\t1\n")
    flickr_lists(tmp_path / "Flickr_text", "Flickr_8k")
    photos(tmp_path / "Flickr_Dataset/Flicker8k_Dataset")  # the photos' own archive, unpacked beside the texts'
    data = read_dataset(tmp_path)
    assert [line.split(":")[2] for line in said(data, "error")] == ["13"]
    check(Dataset(data.layout, data.records), layout)
    assert not any("passed over" in line for line in said(data))


# ---- Karpathy


def karpathy(path: Path, coco: bool = False) -> Path:
    images = []
    for n in range(PHOTOS):
        sentences = [{"raw": text, "tokens": text.lower().split(), "sentid": 2 * n} for text in captions(n)]
        split = "restval" if n == 0 else SPLITS[n]
        item = {"filename": name(n), "imgid": n, "sentids": [2 * n], "split": split, "sentences": sentences}
        images.append({**item, "filepath": "val2014"} if coco else item)
    return write_json(path, {"images": images, "dataset": "flickr8k"})


@pytest.mark.parametrize("folder", ["", "Images", "images", "flickr30k-images"])
def test_karpathys_captions_and_splits(tmp_path: Path, folder: str) -> None:
    karpathy(tmp_path / "dataset_flickr8k.json")
    photos(tmp_path / folder)
    data = read_dataset(tmp_path)
    check(data, "karpathy")
    assert not data.problems


@pytest.mark.parametrize("folder", ["val2014", "images/val2014", "coco/val2014"])
def test_karpathys_coco_has_folders(tmp_path: Path, folder: str) -> None:
    karpathy(tmp_path / "dataset_coco.json", coco=True)
    photos(tmp_path / folder)
    check(read_dataset(tmp_path), "karpathy")


def test_karpathys_file_gives_another_layout_its_splits(tmp_path: Path) -> None:
    rows = "".join(f'{name(n)},"{text}"\n' for n in range(PHOTOS) for text in captions(n))
    write(tmp_path / "data/captions.txt", "image,caption\n" + rows)
    photos(tmp_path / "data/Images")
    elsewhere = karpathy(tmp_path / "dataset_flickr30k.json")
    check(read_dataset(tmp_path / "data", splits=elsewhere), "flickr8k")
    karpathy(tmp_path / "data/dataset.json")
    check(read_dataset(tmp_path / "data"), "flickr8k")


def test_lists_of_ids_in_one_json_file_are_splits_too(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image,caption\na.png,A dog\nb.png,A cat\n")
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    lists = write_json(tmp_path / "ids.json", {"train": ["b"], "val": ["a.png"]})
    assert read_dataset(tmp_path, splits=lists).counts() == {"train": 1, "dev": 1}
    with pytest.raises(DataError, match=r"ids\.json: names no split; expected Karpathy's"):
        read_dataset(tmp_path, splits=write_json(lists, {"one": ["b"]}))


def test_of_karpathys_three_files_the_one_is_read_whose_photos_are_there(tmp_path: Path) -> None:
    karpathy(tmp_path / "dataset_flickr8k.json")
    images = [{"filename": f"{n}.jpg", "split": "train", "sentences": [{"raw": "A cat"}]} for n in range(9)]
    write_json(tmp_path / "dataset_coco.json", {"images": images})
    photos(tmp_path)
    data = read_dataset(tmp_path)
    check(data, "karpathy")
    (note,) = said(data)
    assert note == "note: dataset_coco.json: none of its 9 photos is here, such as '0.jpg': file passed over"


# ---- COCO's schema


def coco(path: Path, numbers: list[int], first_id: int = 100, naming: Callable[[int], str] = name) -> None:
    images = [{"id": first_id + n, "file_name": naming(n)} for n in numbers]
    notes = [{"image_id": first_id + n, "id": n, "caption": text} for n in numbers for text in captions(n)]
    write_json(path, {"info": {}, "images": images, "annotations": notes})


def numbers_of(split: str) -> list[int]:
    return [n for n in range(PHOTOS) if SPLITS[n] == split]


@pytest.mark.parametrize("naming", ["annotations/{}.json", "annotations/nocaps_{}_4500_captions.json", "{}.json"])
@pytest.mark.parametrize("folder", ["{}", "images", "{0}/{0}"])
def test_cocos_schema_under_other_names(tmp_path: Path, naming: str, folder: str) -> None:
    for split in ("train", "val", "test"):
        coco(tmp_path / naming.format(split), numbers_of(split))
        for n in numbers_of(split):
            photo(tmp_path / folder.format(split) / name(n), n)
    check(read_dataset(tmp_path), "coco")


def test_captions_that_vizwiz_marks_as_no_description_are_left_out_and_counted(tmp_path: Path) -> None:
    notes: list[dict[str, Any]] = [{"image_id": 0, "caption": text} for text in ("A dog", "spam", "Quality issues ...")]
    notes[0] |= {"is_rejected": False, "is_precanned": False}
    notes[1]["is_rejected"], notes[2]["is_precanned"] = True, True
    write_json(tmp_path / "annotations/train.json", {"images": [{"id": 0, "file_name": "a.jpg"}], "annotations": notes})
    photo(tmp_path / "train/a.jpg")
    data = read_dataset(tmp_path)
    assert [record.captions for record in data.records] == [("A dog",)]
    assert said(data) == [
        "note: annotations/train.json: 2 captions left out that VizWiz marks as rejected or as ready-made"
    ]


def test_coco_2014_and_2017_side_by_side_are_one_data_set(tmp_path: Path) -> None:
    def of_2014(part: str) -> Callable[[int], str]:
        return lambda n: f"COCO_{part}2014_{n:012}.jpg"

    coco(tmp_path / "annotations/captions_train2014.json", [0, 1], naming=of_2014("train"))
    coco(tmp_path / "annotations/captions_val2014.json", [2, 3], naming=of_2014("val"))
    coco(tmp_path / "annotations/captions_train2017.json", [0, 1, 2], naming="{:012}.jpg".format)
    coco(tmp_path / "annotations/captions_val2017.json", [3, 4], naming="{:012}.jpg".format)
    for n in (0, 1, 2):
        photo(tmp_path / f"train2017/{n:012}.jpg", n)
    for n in (3, 4):
        photo(tmp_path / f"val2017/{n:012}.jpg", n)
    photo(tmp_path / "val2014/COCO_val2014_000000000003.jpg", 3)
    data = read_dataset(tmp_path)
    assert data.counts() == {"train": 2, "dev": 3}  # photo 2, in train of 2017, is in val of 2014
    assert all(len(record.captions) == 2 for record in data.records)
    assert not said(data, "error")
    assert any("4 photos in both years, read once" in note and "1 of them" in note for note in said(data, "note"))


def test_photos_of_one_number_in_two_splits_of_another_set_stay_two(tmp_path: Path) -> None:
    for split in ("train", "val"):
        coco(tmp_path / f"annotations/captions_{split}.json", [1], naming="{:012}.jpg".format)
        photo(tmp_path / f"{split}/000000000001.jpg")
    assert read_dataset(tmp_path).counts() == {"train": 1, "dev": 1}


def test_ids_as_text_and_as_numbers_are_joined(tmp_path: Path) -> None:
    images = [{"id": "07", "file_name": "a.jpg"}, {"id": 8.0, "file_name": "b.jpg"}]
    notes = [{"image_id": 7, "caption": "A dog"}, {"image_id": "8", "caption": "A cat"}]
    write_json(tmp_path / "annotations/captions_val.json", {"images": images, "annotations": notes})
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg", 1)
    data = read_dataset(tmp_path)
    assert {record.id: record.captions for record in data.records} == {"a": ("A dog",), "b": ("A cat",)}
    (repaired,) = said(data, "repaired")
    assert "2 captions joined with images whose id is written in another way" in repaired


def test_ids_that_cannot_be_joined_are_shown_as_they_are_written(tmp_path: Path) -> None:
    images = [{"id": "7", "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}, {"id": "x9", "file_name": "c.jpg"}]
    notes = [{"image_id": id_, "caption": "A dog"} for id_ in (7.0, "07", 9, "7")]
    write_json(tmp_path / "annotations/captions_val.json", {"images": images, "annotations": notes})
    for letter in "abc":
        photo(tmp_path / f"{letter}.jpg")
    data = read_dataset(tmp_path)
    assert {record.id for record in data.records} == {"a", "b"}
    ambiguous, missing = said(data, "error")
    assert "annotations[1]: left out; its image_id '07' is the id of 2 images (a.jpg, b.jpg)" in ambiguous
    assert "its image_id 9 is not among the file's images (whose ids are" in missing
    assert "text such as '7'" in missing and "numbers such as 7" in missing


def test_two_images_of_one_id_get_no_caption(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}, {"id": 2, "file_name": "c.jpg"}]
    notes = [{"image_id": 1, "caption": "which photo?"}, {"image_id": 2, "caption": "A dog"}]
    write_json(tmp_path / "annotations/captions_val.json", {"images": [*images, images[2]], "annotations": notes})
    for letter in "abc":
        photo(tmp_path / f"{letter}.jpg")
    data = read_dataset(tmp_path)
    assert [record.id for record in data.records] == ["c"]
    (error,) = said(data, "error")
    assert "annotations[0]: left out; its image_id 1 is the id of 2 images (a.jpg, b.jpg)" in error


# ---- other JSON


def test_textcaps(tmp_path: Path) -> None:
    for split, folder in (("train", "train_images"), ("val", "train_images"), ("test", "test_images")):
        items = []
        for n in numbers_of(split):
            photo(tmp_path / folder / name(n), n)
            about = {"image_id": name(n).removesuffix(".jpg"), "set_name": split, "image_path": "elsewhere"}
            items += [{**about, "caption_str": text, "reference_strs": captions(n)} for text in captions(n)]
        write_json(tmp_path / f"TextCaps_0.1_{split}.json", {"dataset_name": "TextCaps", "data": items})
    check(read_dataset(tmp_path), "textcaps")


@pytest.mark.parametrize("as_lines", [False, True])
@pytest.mark.parametrize("key", ["caption", "captions", "text", "sentences"])
def test_lists_of_photos_and_captions(tmp_path: Path, as_lines: bool, key: str) -> None:
    for split in ("train", "val", "test"):
        one_each = split == "train" and key != "sentences"  # as BLIP's training list has it
        items = [
            {"image": f"flickr30k-images/{name(n)}", key: text, "image_id": n}
            for n in numbers_of(split)
            for text in (captions(n) if one_each else [captions(n)])
        ]
        text = "\n".join(map(json.dumps, items)) if as_lines else json.dumps(items, indent=1)
        write(tmp_path / f"flickr30k_{split}.{'jsonl' if as_lines else 'json'}", text)
    photos(tmp_path / "flickr30k-images")
    data = read_dataset(tmp_path)
    check(data, "list")
    assert not data.problems


def test_a_mapping_and_a_list_under_a_key(tmp_path: Path) -> None:
    photos(tmp_path / "one/photos")
    write_json(tmp_path / "one/all.json", {name(n): captions(n) for n in range(PHOTOS)})
    check(read_dataset(tmp_path / "one"), "list", splits=False)
    photos(tmp_path / "two")
    items = [{"image_id": name(n).removesuffix(".jpg"), "caption": captions(n)} for n in range(PHOTOS)]
    write_json(tmp_path / "two/filter_cap.json", {"annotations": items})
    check(read_dataset(tmp_path / "two"), "list", splits=False)


# ---- tables


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("file_name,caption_0,caption_1", '{0},"{1}",{2}'),
        ("file_name,captions", '{0},"[""{1}"", ""{2}""]"'),
        ("file_name,sentences", "{0},\"['{1}', '{2}']\""),
        ("path,prompt", '{0},"{1}"\n{0},{2}'),
        ("text,img", '"{1}",{0}\n{2},{0}'),
    ],
)
@pytest.mark.parametrize("file", ["metadata.csv", "mine.csv"])
def test_columns_as_hugging_face_and_others_call_them(tmp_path: Path, header: str, row: str, file: str) -> None:
    rows = [row.format(name(n), *captions(n)) for n in range(PHOTOS)]
    write(tmp_path / file, "\n".join([header, *rows]) + "\n")
    photos(tmp_path / "photos")
    check(read_dataset(tmp_path), "folder" if file == "metadata.csv" else "table", splits=False)


def test_fewer_captions_than_columns_is_no_error(tmp_path: Path) -> None:
    write(tmp_path / "metadata.csv", "file_name,caption_0,caption_1\na.jpg,A dog,\nb.jpg,,\n")
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    data = read_dataset(tmp_path)
    assert [record.captions for record in data.records] == [("A dog",)]
    assert any("metadata.csv:3: empty caption" in line for line in said(data, "error"))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize(
    "columns", ["image=pic, caption=words, split=fold", ["image=pic", "caption=words,split=fold"], None]
)
def test_columns_that_cannot_be_guessed_are_named(tmp_path: Path, suffix: str, columns: Any) -> None:
    items = [{"pic": name(n), "words": text, "fold": SPLITS[n]} for n in range(PHOTOS) for text in captions(n)]
    rows = ["Pic,Words,Fold", *(f'{item["pic"]},"{item["words"]}",{item["fold"]}' for item in items)]
    lines = map(json.dumps, items) if suffix == "jsonl" else rows
    write(tmp_path / f"mine.{suffix}", "\n".join(lines) + "\n")
    photos(tmp_path)
    columns = columns or {"image": "pic", "caption": ["words"], "split": "fold"}
    check(read_dataset(tmp_path, columns=columns), "list" if suffix == "jsonl" else "table")
    with pytest.raises(DataError, match=r"no captions found.*data\.columns name"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("imgae=pic", "data.columns: unknown 'imgae'; expected image, caption or split. Did you mean 'image'?"),
        ("caption=", "data.columns: caption names no column"),
        ("image=a+b", "data.columns: image is one column; got a, b"),
        ("caption=word", "caption=word: columns found: image, words. Did you mean 'words'?"),
        (3, "data.columns: got 3, expected such as image=pic"),
    ],
)
def test_columns_that_make_no_sense(tmp_path: Path, columns: Any, message: str) -> None:
    write(tmp_path / "captions.csv", "image,words\na.jpg,A dog\n")
    with pytest.raises(DataError) as error:
        read_dataset(tmp_path, columns=columns)
    assert message in str(error.value)


def test_a_first_photo_that_is_missing_is_no_header(tmp_path: Path) -> None:
    write(tmp_path / "Train_GCC-training.tsv", "a dog runs\ttraining/0_7\na cat sleeps\ttraining/1_7\n")
    photo(tmp_path / "training/1_7.jpg").rename(tmp_path / "training/1_7")
    data = read_dataset(tmp_path)
    assert [record.captions for record in data.records] == [("a cat sleeps",)]
    assert "Train_GCC-training.tsv:1: photo 'training/0_7' is not in" in said(data, "error")[0]


@pytest.mark.parametrize("suffix", [".jpg", ""])
def test_conceptual_captions_of_files_on_this_disk(tmp_path: Path, suffix: str) -> None:
    for split, word in (("train", "Train_GCC-training"), ("val", "Validation_GCC-1.1.0-Validation")):
        rows = []
        for n in range(3) if split == "train" else range(3, 5):
            photo(tmp_path / f"{split}ing/{n}_77.jpg", n).rename(tmp_path / f"{split}ing/{n}_77{suffix}")
            rows.append(f'a "dog" , number {n}\t{split}ing/{n}_77{suffix}')
        write(tmp_path / f"{word}.tsv", "\n".join(rows) + "\n")
    data = read_dataset(tmp_path)
    assert data.layout == "table" and data.counts() == {"train": 3, "dev": 2}
    assert data.records[0].captions == ('a "dog" , number 0',)
    assert not data.problems


def test_web_addresses_are_said_to_be_some(tmp_path: Path) -> None:
    write(tmp_path / "Train_GCC-training.tsv", "a dog runs\thttp://example.org/a.jpg\na cat\tb.jpg\n")
    photo(tmp_path / "b.jpg")
    (error,) = said(read_dataset(tmp_path), "error")
    assert "photo 'http://example.org/a.jpg' is a web address: left out; download it first" in error


# ---- as archives unpack, as others encode


def test_folders_as_archives_unpack(tmp_path: Path) -> None:
    inner = tmp_path / "archive/data"
    coco(inner / "annotations/captions_val2017.json", list(range(PHOTOS)))
    photos(inner / "val2017/val2017")
    for n in range(PHOTOS):
        write(tmp_path / f"__MACOSX/archive/data/val2017/val2017/._{name(n)}", "x")
        photo(tmp_path / f"__MACOSX/archive/{name(n)}")
    data = read_dataset(tmp_path)
    assert data.counts() == {"dev": PHOTOS} and not said(data, "error")
    assert all("__MACOSX" not in record.image.parts for record in data.records)
    (note,) = said(data)
    assert note == "note: photos: 6 photos found in archive/data/val2017/val2017/ (6)"


def test_several_data_sets_in_a_folder_are_named(tmp_path: Path) -> None:
    for part in ("one", "two"):
        write(tmp_path / part / "captions.csv", "image,caption\na.jpg,A dog\n")
    with pytest.raises(DataError, match=r"holds several data sets: .*one, .*two; give one of them"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_with_a_mark(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    write(tmp_path / "one/captions.csv", f"{mark}image,caption\r\na.jpg,Ein Hündchen\r\n", encoding)
    write(tmp_path / "two/all.json", mark + json.dumps([{"image": "a.jpg", "caption": "Ein Hündchen"}]), encoding)
    for part in ("one", "two"):
        photo(tmp_path / part / "a.jpg")
        assert [record.captions for record in read_dataset(tmp_path / part).records] == [("Ein Hündchen",)]


@pytest.mark.parametrize(
    ("word", "split"), [("training", "train"), ("restval", "train"), ("eval", "dev"), ("Testing", "test")]
)
def test_names_of_splits(tmp_path: Path, word: str, split: str) -> None:
    write(tmp_path / "captions.csv", f"image,caption,split\na.jpg,A dog,{word}\n")
    photo(tmp_path / "a.jpg")
    assert read_dataset(tmp_path).counts() == {split: 1}


# ---- no silent wrongness


@pytest.mark.parametrize("spelling", ["./a.jpg", "b//../a.jpg", ".\\a.jpg", "link.jpg", "hard.jpg", "linked/a.jpg"])
def test_one_file_is_one_photo(tmp_path: Path, spelling: str) -> None:
    write(tmp_path / "captions.csv", f"image,caption,split\na.jpg,A dog,train\n{spelling},A hound,test\n")
    photo(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "linked").symlink_to(".")
    os.link(tmp_path / "a.jpg", tmp_path / "hard.jpg")
    data = read_dataset(tmp_path)
    assert [(record.captions, record.split) for record in data.records] == [(("A dog", "A hound"), "test")]
    assert any("1 photo under several names, read as one each ('a.jpg' and" in note for note in said(data, "note"))
    assert any("'a.jpg' is in train and test: it stays in test only" in line for line in said(data, "error"))


def test_the_same_data_set_given_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "data/captions.csv", "image,caption,split\na.jpg,A dog,train\nb.jpg,A cat,dev\n")
    photo(tmp_path / "data/a.jpg", 1)
    photo(tmp_path / "data/b.jpg", 2)
    (tmp_path / "link").symlink_to("data")
    for other in (tmp_path / "data", tmp_path / "link", tmp_path / "data/../data"):
        data = read_dataset([tmp_path / "data", other])
        assert data.counts() == {"train": 1, "dev": 1} and data.layout == "folder"
        (note,) = said(data)
        assert "read once" in note


def test_a_copy_of_a_data_set_beside_it_is_said(tmp_path: Path) -> None:
    for part in ("one", "two"):
        write(tmp_path / part / "captions.csv", "image,caption,split\na.jpg,A dog,train\nb.jpg,A cat,train\n")
        photo(tmp_path / part / "a.jpg", 1)
        photo(tmp_path / part / "b.jpg", 2 if part == "one" else 90)
    data = read_dataset([tmp_path / "one", tmp_path / "two"])
    assert len(data.records) == 4
    (note,) = said(data)
    assert "1 photo in two sources under one name with the same captions, as copies (two/a): each counts twice" in note


def test_captions_of_one_photo_in_two_sources_are_put_together(tmp_path: Path) -> None:
    write(tmp_path / "one/captions.csv", "image,caption,split\na.jpg,A dog,dev\n")
    write(tmp_path / "two/captions.csv", "image,caption,split\na.jpg,A hound,test\na.jpg,A dog,test\n")
    photo(tmp_path / "one/a.jpg")
    (tmp_path / "two/a.jpg").symlink_to(tmp_path / "one/a.jpg")
    (record,) = read_dataset([tmp_path / "one", tmp_path / "two"]).records
    assert (record.captions, record.split) == (("A dog", "A hound"), "test")


def test_a_caption_that_goes_on_after_a_comma_is_kept_whole(tmp_path: Path) -> None:
    rows = [
        "a.jpg,A dog, running fast",
        "b.jpg,A cat, asleep, in bed,flickr",
        'c.jpg,"A cow, eating", flickr',
        "d.jpg,A bird,flickr,,",
    ]
    write(tmp_path / "captions.txt", "image,caption,source\n" + "\n".join(rows) + "\n")
    for letter in "abcd":
        photo(tmp_path / f"Images/{letter}.jpg")
    data = read_dataset(tmp_path)
    found = {record.id: record.captions for record in data.records}
    assert found == {
        "a": ("A dog, running fast",),
        "b": ("A cat, asleep, in bed",),
        "c": ("A cow, eating",),
        "d": ("A bird",),
    }
    first, second = said(data, "repaired")
    assert "captions.txt:2: the caption holds ',' without quotes: kept whole, nothing left for source" in first
    assert second.endswith("captions.txt:3: the caption holds ',' without quotes: kept whole")


def test_blanks_after_every_comma_mean_nothing(tmp_path: Path) -> None:
    write(tmp_path / "one/captions.csv", "image, caption, split\na.jpg, A dog, train\n")
    write(tmp_path / "two/captions.csv", "image,caption,split\na.jpg,A dog, train\n")
    for part in ("one", "two"):
        photo(tmp_path / part / "a.jpg")
        data = read_dataset(tmp_path / part)
        assert [(record.captions, record.split) for record in data.records] == [(("A dog",), "train")]
        assert not data.problems


def test_of_two_candidate_files_one_is_taken_and_the_other_named(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image,caption\na.jpg,A dog\n")
    write(tmp_path / "metadata.csv", "file_name,text\na.jpg,A cat\n")
    write_json(tmp_path / "all.json", [{"image": "a.jpg", "caption": "A cow"}])
    photo(tmp_path / "a.jpg")
    data = read_dataset(tmp_path)
    assert data.records[0].captions == ("A dog",)
    (note,) = [line for line in said(data) if "passed over" in line]
    assert "read as folder: captions.csv; passed over: metadata.csv, all.json (data.layout=list)" in note
    assert read_dataset(tmp_path / "metadata.csv").records[0].captions == ("A cat",)
    assert read_dataset(tmp_path / "all.json").records[0].captions == ("A cow",)


@pytest.mark.parametrize("column", ["fold", "set", "subset", "which"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_that_looks_like_splits_is_named(tmp_path: Path, column: str, suffix: str) -> None:
    items = [{"file_name": f"{n}.jpg", "text": "A dog", column: ("train", "val")[n % 2]} for n in range(4)]
    rows = [",".join(items[0]), *(",".join(map(str, item.values())) for item in items)]
    write(tmp_path / f"metadata.{suffix}", "\n".join(rows if suffix == "csv" else map(json.dumps, items)) + "\n")
    for n in range(4):
        photo(tmp_path / f"{n}.jpg")
    (note,) = [line for line in said(read_dataset(tmp_path), "note") if column in line]
    assert f"column '{column}' looks like splits (train, val) and is not used; --columns split={column}" in note
    assert read_dataset(tmp_path, columns=f"split={column}").counts() == {"train": 2, "dev": 2}


def test_photos_in_a_sub_folder_beside_the_table_are_found(tmp_path: Path) -> None:
    write(
        tmp_path / "captions.csv", "image,caption\na.JPG,A dog\nb,A cat\nmine/c.jpg,A cow\nd.jpg,A bird\ne.jpg,An emu\n"
    )
    photo(tmp_path / "holiday/2020/a.jpg")
    photo(tmp_path / "holiday/2020/b.jpg")
    photo(tmp_path / "holiday/mine/c.jpg")
    photo(tmp_path / "holiday/yours/c.jpg")
    photo(tmp_path / "holiday/x/d.jpg")
    photo(tmp_path / "holiday/y/d.jpg")
    data = read_dataset(tmp_path)
    assert {record.captions[0]: record.image.parent.name for record in data.records} == {
        "A dog": "2020",
        "A cat": "2020",
        "A cow": "mine",
    }
    several, missing = said(data, "error")
    assert "photo 'd.jpg' may be any of holiday/x/d.jpg, holiday/y/d.jpg: left out" in several
    assert "photo 'e.jpg' is not in" in missing
    assert any("3 photos found in holiday/2020/ (2), holiday/mine/ (1)" in note for note in said(data, "note"))


@pytest.mark.parametrize("count", [10, 11, 30])
def test_ten_photos_or_more_always_give_a_dev_photo(tmp_path: Path, count: int) -> None:
    for seed in range(8):
        folder = tmp_path / str(seed)
        rows = "".join(f"{seed}-{n}.jpg,A dog\n" for n in range(count))
        write(folder / "captions.csv", "image,caption\n" + rows)
        for n in range(count):
            write(folder / f"{seed}-{n}.jpg", "")
        data = read_dataset(folder)
        counts = data.counts()
        assert set(counts) == {"train", "dev", "test"}
        came_out = ", ".join(f"{number} {split}" for split, number in counts.items())
        assert any(f"of {count} photos came out {came_out}" in note for note in said(data, "note"))


# ---- files that mean harm, or that are broken


@pytest.mark.parametrize("text", [100_000 * "[", '{"images": ' + 100_000 * "[", "9" * 5000, "{", '"\\ud8'])
@pytest.mark.parametrize("name", ["captions.jsonl", "annotations/captions_val.json", "dataset.json", "all.json"])
def test_json_that_cannot_be_read_is_an_error_with_the_files_name(tmp_path: Path, text: str, name: str) -> None:
    write(tmp_path / name, text)
    photo(tmp_path / "a.jpg")
    with pytest.raises(DataError):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="splits: "):
        write(tmp_path / "captions.csv", "image,caption\na.jpg,A dog\n")
        read_dataset(tmp_path / "captions.csv", splits=tmp_path / name)
