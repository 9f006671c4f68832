"""Captions and errors as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from seesay.caption import Caption
from seesay.outputs import Job
from seesay.outputs.writer import Result, entry_of
from seesay.serve.batcher import Answer, BadPhoto
from seesay.serve.limits import RefusedError
from seesay.serve.options import CaptionOptions, Options


def results_of(found: Sequence[Answer | BadPhoto], options: Options) -> list[dict[str, Any]]:
    """The JSON of each photo, in order, as `seesay caption --json` writes it.

    Raises:
        RefusedError: no photo could be read; the reason is the first one's.
    """
    if all(isinstance(each, BadPhoto) for each in found):
        raise bad_photo_error(found[0])
    has_list = isinstance(options, CaptionOptions) and (options.sample or options.alternatives)
    drawn = isinstance(options, CaptionOptions) and options.sample
    job = Job(several="samples" if drawn else "alternatives", attention=options.attention)

    def result_of(each: Answer | BadPhoto) -> Result:
        if isinstance(each, BadPhoto):
            return each
        return each.captions if has_list else each.captions[0]

    return [entry_of(None, result_of(each), job, {}) for each in found]


def bad_photo_error(failure: Answer | BadPhoto) -> RefusedError:
    """Why the only photo of a request, or the first of them, was not captioned."""
    assert isinstance(failure, BadPhoto)
    codes = {413: "photo_too_large", 415: "no_photo", 422: "bad_photo"}
    return RefusedError(failure.status, codes[failure.status], failure.error)


def confidence(caption: Caption) -> float:
    """The caption's own confidence, or for uncalibrated models the geometric mean of its words' probabilities."""
    if caption.confidence is not None:
        return caption.confidence
    if not caption.words:
        return 0.0
    return math.exp(min(sum(word.logprob for word in caption.words) / len(caption.words), 0.0))


class WordJson(BaseModel):
    """One word of a caption."""

    model_config = ConfigDict(extra="allow")
    text: str
    logprob: float = Field(description="natural log-probability")
    confidence: float | None = Field(None, description="that the thing it names is there, if calibrated")
    attention: list[list[float]] | None = Field(
        None, description="rows x cols weights that sum to 1, where they were asked for"
    )


class SentenceJson(BaseModel):
    """One of several captions."""

    caption: str
    score: float
    confidence: float | None = Field(None, description="that a person would accept it, if the model is calibrated")
    withheld: bool | None = Field(None, description="whether it should not be passed on")


class ResultJson(BaseModel):
    """One photo: its caption, or why there is none."""

    model_config = ConfigDict(extra="allow")
    image: str | None = Field(description="the file's name, where one was given")
    caption: str | None = None
    score: float | None = Field(None, description="natural log-probability, the end included")
    confidence: float | None = Field(
        None, description="that a person would accept the caption, if the model is calibrated"
    )
    kind: str | None = Field(None, description="what the picture is: photo, text, screenshot, chart, ...")
    photo_probability: float | None = Field(None, description="that the picture is a photo")
    withheld: bool | None = Field(
        None,
        description="whether the caption should not be passed on: the picture is no photo, or the confidence is below "
        "`min_confidence`",
    )
    words: list[WordJson] | None = None
    alternatives: list[SentenceJson] | None = None
    samples: list[SentenceJson] | None = None
    warning: str | None = Field(None, description="what is wrong with a photo that could be read")
    error: str | None = Field(None, description="why this photo has no caption")


class ResultsJson(BaseModel):
    """The photos of a request, in order."""

    model: str
    results: list[ResultJson]


class ErrorBody(BaseModel):
    """What is wrong."""

    message: str = Field(description="for people: what is wrong, and what to do")
    type: str = Field(description="`invalid_request_error` or `server_error`")
    code: str = Field(description="for programs: one word, which never changes")
    param: str | None = None


class ErrorJson(BaseModel):
    """Every refusal."""

    error: ErrorBody


def error_json(error: RefusedError, path: str = "") -> dict[str, Any]:
    """A refusal as JSON, in the form that the programs which use this path understand."""
    if path.startswith("/api/v1/vision"):  # PhotoPrism: a text and a code
        return {"code": error.status, "error": error.message, "result": {}}
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    body = ErrorBody(message=error.message, type=kind, code=error.code)
    return {"error": body.model_dump()}
