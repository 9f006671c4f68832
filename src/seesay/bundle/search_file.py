"""search.json: the search options that a model's scores were measured with.

Version 1 (files without a version are of this one):

    version          1
    beam             1 to 100 hypotheses
    max_words        1 to 1,000 tokens, without the end token
    length_penalty   0 to 10
    block_ngrams     0 to 1,000: length of n-grams that must not repeat (`NoRepeatedNgrams`); 0: no such rule
    may_repeat       ids of the only tokens that may repeat (`NoRepeatedWords`); empty: all may repeat

A missing field has the default of `seesay.search.BeamOptions`; an unknown field is an error. When
the meaning of a field changes, the version is increased and gets its own reader in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seesay.bundle.fields import Fields
from seesay.search import BeamOptions, Constraint, NoRepeatedNgrams, NoRepeatedWords
from seesay.search.constraints import LIMITS
from seesay.version import __version__
from seesay.writing import write_json

VERSION = 1


def read_search(path: Path, vocab_size: int) -> BeamOptions:
    """Read the options of a search.json.

    Args:
        path: the file.
        vocab_size: the size of the bundle's vocabulary, which limits the ids in `may_repeat`.

    Raises:
        BundleError: a newer version, an unknown field, or a value of the wrong type or out of
            range.
    """
    fields = Fields(path)
    version = fields.whole("version", 1, 1_000_000, default=1)
    if version not in READERS:
        fields.refuse(f"version {version}, this seesay ({__version__}) reads up to {VERSION}; install a newer one")
    return READERS[version](fields, vocab_size)


def write_search(path: Path, options: BeamOptions) -> None:
    """Write a search.json; the inverse of `read_search`.

    Raises:
        ValueError: the options have a prefix, or constraints that the file cannot hold.
    """
    values = {"beam": options.beam, "max_words": options.max_words, "length_penalty": options.length_penalty}
    values |= {"block_ngrams": 0, "may_repeat": ()}
    for constraint in options.constraints:
        if isinstance(constraint, NoRepeatedNgrams):
            values["block_ngrams"] = constraint.n
        elif isinstance(constraint, NoRepeatedWords):
            values["may_repeat"] = constraint.may_repeat
        else:
            raise ValueError(f"search.json cannot hold {constraint}")
    if options.prefix:
        raise ValueError(f"search.json cannot hold the prefix {options.prefix}")
    write_json(path, {"version": VERSION, **values})


def _version_1(fields: Fields, vocab_size: int) -> BeamOptions:
    default = BeamOptions()
    ngrams = fields.whole("block_ngrams", *LIMITS["block_ngrams"], 0)
    may_repeat = fields.wholes("may_repeat", 0, vocab_size - 1, (0, vocab_size), default=())
    constraints: list[Constraint] = [NoRepeatedNgrams(ngrams)] if ngrams else []
    constraints += [NoRepeatedWords(tuple(may_repeat))] if may_repeat else []
    options = BeamOptions(
        beam=fields.whole("beam", *LIMITS["beam"], default.beam),
        max_words=fields.whole("max_words", *LIMITS["max_words"], default.max_words),
        length_penalty=fields.number("length_penalty", *LIMITS["length_penalty"], default.length_penalty),
        constraints=tuple(constraints),
    )
    fields.end()
    return options


READERS: dict[int, Callable[[Fields, int], BeamOptions]] = {1: _version_1}
