"""Caption metrics: BLEU, ROUGE-L and CIDEr-D in numpy, METEOR by its jar, and statistics.

Importing this package starts nothing and needs numpy only.
"""

from seesay.metrics.bleu import bleu, sentence_bleu
from seesay.metrics.cider import CiderD
from seesay.metrics.jars import JavaError, ptb_tokenise
from seesay.metrics.official import official_scores, score_captions
from seesay.metrics.rouge import rouge_l
from seesay.metrics.scores import Scores, basic_scores
from seesay.metrics.statistics import CaptionStatistics, bootstrap_interval, caption_statistics

__all__ = [
    "CaptionStatistics",
    "CiderD",
    "JavaError",
    "Scores",
    "basic_scores",
    "bleu",
    "bootstrap_interval",
    "caption_statistics",
    "official_scores",
    "ptb_tokenise",
    "rouge_l",
    "score_captions",
    "sentence_bleu",
]
