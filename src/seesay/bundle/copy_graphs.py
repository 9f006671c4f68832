"""Export of a bundle's graphs for other runtimes: their files are copied, with a README."""

from __future__ import annotations

import shutil
from pathlib import Path

from seesay.bundle.agreement import check_parts
from seesay.bundle.format import bundle_being_written, open_bundle
from seesay.errors import BundleError

FILES = ("encoder.onnx", "decoder.onnx", "weights.safetensors", "tokenizer.json", "preprocessing.json", "search.json")


def export_graphs(bundle: Path, out: Path) -> Path:
    """Copy graphs, weights, vocabulary and preprocessing to a folder, with a README on their use.

    Args:
        bundle: folder of the bundle.
        out: replaced if it is an earlier export.

    Raises:
        BundleError: the bundle is damaged, or `out` exists and is something else.
    """
    opened = open_bundle(bundle)
    check_parts(opened)
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} in (set(), {*FILES, "README.md"})):
        raise BundleError(f"{out}: exists and is no earlier export; give another folder")
    with bundle_being_written(out) as scratch:
        for name in FILES:
            shutil.copyfile(bundle / name, scratch / name)
        (scratch / "README.md").write_text(_readme(opened.name, opened.transform.size, opened.grid), encoding="utf-8")
    return out


def _readme(name: str, size: int, grid: tuple[int, int]) -> str:
    rows, cols = grid
    return f"""# ONNX graphs of {name}

Both graphs read their weights from `weights.safetensors` beside them (ONNX external data, float16, cast on load).
B photos, K beams, P = {rows * cols} regions ({rows} rows of {cols}), V words.

## encoder.onnx, once a photo

Input `images` (B, 3, {size}, {size}) float32: the photo upright, squashed to {size} x {size} (the filter is named in
`preprocessing.json`), RGB, (x / 255 - mean) / std.
Outputs `memory.*` (B, ...): hand them to the decoder as they are. Outputs `state.*` (B, 1, ...): repeat them K times
along axis 1. A Transformer's state starts empty: its axis 3 has length 0 and grows by one with each word.

## decoder.onnx, once a word

Inputs `tokens` (B, K) int64, `state.*` (B, K, ...), `memory.*`. The first token is 1 (start); 2 ends a sentence; 0
(padding), 1 and 3 (unknown) must not be chosen.
Outputs `logprobs` (B, K, V) natural logarithm, `attention` (B, K, P) weights over the regions, row by row, and
`next.*`: the state for the next step. `tokenizer.json` is read by the Hugging Face `tokenizers` library.

`search.json` is the search that the model's captions come from: beam width, length penalty (sums of log-probabilities
are divided by length ** penalty), no `block_ngrams` tokens in a row twice, no token twice but those of `may_repeat`.
"""
