"""Training the encoder together with the decoder."""

from __future__ import annotations

from torch import Tensor, nn

from seesay.models.encoder import Encoder
from seesay.models.frozen import FrozenPart
from seesay.models.norms import batch_norms
from seesay.training.inputs.batches import CaptionBatch, PhotoBatch


class WithEncoder(nn.Module):
    """An objective whose gradient reaches the encoder.

    Each photo is encoded once for all of its captions.

    The encoder stays in eval mode even where it is trained. Batch norms keep their pretrained
    statistics, because the statistics of a few dozen photos are noisy and a bundle's encoder has
    its norms folded into the filters. Scales and offsets of the norms are trained like the other
    weights of their stage. Only an encoder with random initial weights needs new statistics, so its
    batch norms are in training mode.

    Args:
        encoder: after `seesay.models.finetune.finetune`, which decides which of its weights are
            trained.
        objective: maps a `CaptionBatch` to a loss.
        frozen: the frozen part of the encoder, if batches hold its cached features; None: batches
            hold photos.
        train_norms: whether batch norms follow the statistics of the batches.
    """

    def __init__(
        self, encoder: Encoder, objective: nn.Module, frozen: FrozenPart | None = None, train_norms: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self._norms = batch_norms(encoder) if train_norms else []
        self._run_trained_part = frozen.run_trained_part if frozen else None  # its modules are the encoder's

    def forward(self, batch: PhotoBatch | CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar."""
        if isinstance(batch, PhotoBatch):
            # with a single photo a norm may see one value per channel, which has no variance
            self._train_norms(self.training and len(batch.images) > 1)
            return self.objective(batch.with_regions(self.encoder(batch.images).regions), progress)
        assert self._run_trained_part is not None
        return self.objective(batch._replace(regions=self._run_trained_part(batch.regions)), progress)

    def train(self, mode: bool = True) -> WithEncoder:
        """Set the mode of the objective; of the encoder, only trained batch norms change mode."""
        super().train(mode)
        self.encoder.eval()
        self._train_norms(mode)
        return self

    def _train_norms(self, mode: bool) -> None:
        for norm in self._norms:
            norm.train(mode)
