"""Text from files in messages: short, on one line, and nothing that a terminal acts on."""

from __future__ import annotations

import pytest

from seesay.errors import LONGEST_SHOWN, MissingExtraError, needs, printable, require, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\nb\r\tc\x00\x7f", r"a\nb\r\tc\x00\x7f"),
        ("\x9b31m", r"\x9b31m"),  # the same as ESC [ on some terminals
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("\u2028\u2066\udcff", r"\u2028\u2066\udcff"),
        ("Grüße, 写真 👩‍👩‍👧 'x' \\ ", "Grüße, 写真 👩‍👩‍👧 'x' \\ "),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        ("3", "'3'"),
        ("\x1b", r"'\x1b'"),
        ([1, "a"], "[1, 'a']"),
    ],
)
def test_shown(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_a_number_that_python_will_not_write() -> None:
    assert shown(10**5000) == "a number of 16,610 bits"


def test_what_is_shown_is_short_whatever_it_is() -> None:
    bomb: object = "lol"
    for _ in range(40):  # 9 ** 40 words, were it written out
        bomb = [bomb] * 9
    for value in (bomb, "x" * 10**6, list(range(10**6)), {"a": bomb}):
        assert len(shown(value)) <= LONGEST_SHOWN


def test_a_missing_package_is_one_line_and_a_missing_module_of_ours_is_a_fault() -> None:
    line = "it needs 'no_such_package', which is not installed: pip install 'seesay\\[eval]'"
    with pytest.raises(MissingExtraError, match=line):
        require("no_such_package.part", "eval", "it")
    with pytest.raises(MissingExtraError, match=line), needs("eval", "it"):
        import no_such_package  # noqa: F401  # pyright: ignore[reportMissingImports]
    with pytest.raises(ModuleNotFoundError, match=r"seesay\.no_such_module"):
        require("seesay.no_such_module", "eval", "it")
