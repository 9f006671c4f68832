"""Training with the encoder in the loop."""

from __future__ import annotations

from torch import Tensor, nn

from seesay.models.encoder import Encoder
from seesay.models.stem import Stem
from seesay.training.batches import CaptionBatch, PhotoBatch


class FromPhotos(nn.Module):
    """An objective on photos, or on what the encoder's stem saw of them: each is encoded once for all of its captions.

    The encoder is in eval mode even where it is trained. Batch norms keep the statistics of the large batches that they
    were trained on: those of a few dozen photos are noisy, averaged weights would need statistics of their own, and
    an encoder from a bundle has them folded into its filters. Their scales and offsets are trained like all weights of
    their stage.

    Args:
        encoder: `seesay.models.stages.finetune` said what of it is trained.
        objective: takes a `CaptionBatch`.
        stem: of the encoder, where features of it are kept.
    """

    def __init__(self, encoder: Encoder, objective: nn.Module, stem: Stem | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self._finish = stem.finish if stem else None  # its modules are the encoder's

    def forward(self, batch: PhotoBatch | CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar."""
        if isinstance(batch, PhotoBatch):
            return self.objective(batch.encoded(self.encoder(batch.images).regions), progress)
        assert self._finish is not None
        return self.objective(batch._replace(regions=self._finish(batch.regions)), progress)

    def train(self, mode: bool = True) -> FromPhotos:
        """The objective learns; the encoder's batch norms do not move."""
        super().train(mode)
        self.encoder.eval()
        return self
