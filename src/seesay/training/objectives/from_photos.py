"""Training with the encoder in the loop."""

from __future__ import annotations

from torch import Tensor, nn

from seesay.models.encoder import Encoder
from seesay.models.frozen import FrozenPart
from seesay.models.norms import batch_norms
from seesay.training.inputs.batches import CaptionBatch, PhotoBatch


class FromPhotos(nn.Module):
    """An objective on photos, or on features of the encoder's frozen part: each photo is encoded once for all captions.

    The encoder is in eval mode even where it is trained. Batch norms keep the statistics of the large batches that they
    were trained on: those of a few dozen photos are noisy, and an encoder from a bundle has them folded into its
    filters. Their scales and offsets are trained like all weights of their stage. Only an encoder that is trained from
    random weights needs statistics that follow the weights: there batch norms are in training mode.

    Args:
        encoder: `seesay.models.finetune.finetune` said what of it is trained.
        objective: takes a `CaptionBatch`.
        frozen: of the encoder, where features of it are kept.
        train_norms: whether batch norms follow the statistics of the batches.
    """

    def __init__(
        self, encoder: Encoder, objective: nn.Module, frozen: FrozenPart | None = None, train_norms: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self._norms = batch_norms(encoder) if train_norms else []
        self._finish = frozen.finish if frozen else None  # its modules are the encoder's

    def forward(self, batch: PhotoBatch | CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar."""
        if isinstance(batch, PhotoBatch):
            # one photo alone may leave a norm with one value of each channel, which has no variance
            self._let_norms_follow(self.training and len(batch.images) > 1)
            return self.objective(batch.encoded(self.encoder(batch.images).regions), progress)
        assert self._finish is not None
        return self.objective(batch._replace(regions=self._finish(batch.regions)), progress)

    def train(self, mode: bool = True) -> FromPhotos:
        """The objective learns; of the encoder only batch norms may be in training mode."""
        super().train(mode)
        self.encoder.eval()
        self._let_norms_follow(mode)
        return self

    def _let_norms_follow(self, mode: bool) -> None:
        for norm in self._norms:
            norm.train(mode)
