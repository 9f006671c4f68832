"""The training loop, which can stop and resume at any step without changing the result.

All randomness depends on seed, epoch and step alone, and the learning rate on the recipe and the
step. So a checkpoint needs neither random states nor a scheduler, and a resumed run can have
another learning rate.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from seesay.config import Recipe
from seesay.errors import RecipeError, SeesayError
from seesay.models.norms import BatchNorm
from seesay.progress import print_plain, progress
from seesay.training.inputs.batches import CaptionBatch, CaptionBatches, PhotoBatch, prefetch
from seesay.training.learning_rate import learning_rate
from seesay.training.processes import process_average
from seesay.training.run_folder import RunFolder, checkpoint_errors

Validate = Callable[[], tuple[dict[str, float], list[str]]]


@dataclass
class TrainState:
    """The part of a checkpoint that is neither weights nor optimiser.

    Attributes:
        step: optimiser steps done.
        validated: the step of the last validation.
        best: highest dev CIDEr so far.
        seconds: time spent in training and validation, interrupted runs included.
        losses: sum of the losses and number of batches since the last validation.
        history: one row of figures per epoch.
    """

    step: int = 0
    validated: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    losses: tuple[float, int] = (0.0, 0)
    history: list[dict[str, float]] = field(default_factory=list)


class StoppedError(Exception):
    """Ctrl-C, SIGTERM or SIGHUP stopped the run; it is saved, and `--resume` continues it."""


class Trainer:
    """Minimises `objective` over `batches`, with validation, checkpoints and early stopping.

    Args:
        recipe: section `train`, and `encoder.lr`.
        run: the folder for checkpoints and figures.
        fabric: devices and precision, launched.
        objective: a module that maps (batch, share of the run that is done) to a loss.
        batches: the batches of the training split.
        validate: scores dev captions with the current weights; returns (figures, lines to print).
        console: for progress and figures.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        fabric: Fabric,
        objective: nn.Module,
        batches: CaptionBatches,
        validate: Validate,
        console: Console,
    ) -> None:
        self.recipe, self.run, self.fabric, self.console = recipe, run, fabric, console
        self.batches, self.validate = batches, validate
        self.per_epoch = len(batches)
        all_epochs = recipe.train.epochs * self.per_epoch
        self.steps = min(all_epochs, recipe.train.max_steps or all_epochs)
        # a fused optimiser unscales gradients itself, after clipping
        fused = recipe.train.precision != "16-mixed"
        groups = _parameter_groups(objective, recipe.train.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=recipe.train.lr, betas=(0.9, 0.98), fused=fused)
        self.raw = objective
        self.objective, self.optimizer = fabric.setup(objective, optimizer)
        self.averaged = {name: t.detach().clone() for name, t in _averaged_tensors(objective).items()}
        self.state = TrainState()
        self._stop_requested = threading.Event()
        self._saved_at = time.monotonic()

    def fit(self) -> None:
        """Train to the end, or until dev CIDEr has not improved for `train.patience` epochs.

        Raises:
            StoppedError: the run was stopped by a signal; everything is saved.
        """
        with self._stop_on_signals():
            while True:
                if self._validation_due():
                    self._validate()
                if self.state.step >= self.steps or self._out_of_patience():
                    return
                self._train_to_end_of_epoch()

    def _train_to_end_of_epoch(self) -> None:
        epoch, first = divmod(self.state.step, self.per_epoch)
        remaining = min(self.per_epoch - first, self.steps - self.state.step)
        self.objective.train()
        with progress(f"epoch {epoch + 1}", first + remaining, self.console, first) as advance:
            started = time.monotonic()
            for _, batch in zip(range(remaining), self._batches_of_this_device(epoch, first), strict=False):
                loss = self._step(batch)
                self.state.losses = (self.state.losses[0] + loss, self.state.losses[1] + 1)
                started, before = time.monotonic(), started
                self.state.seconds += started - before
                advance(note=f"loss {self.state.losses[0] / self.state.losses[1]:.3f}")
                if self._on_any_device(self._stop_requested.is_set()):
                    self.save()
                    # a process that exits stops the others while the first one is still writing
                    self.fabric.barrier()
                    raise StoppedError
                if time.monotonic() - self._saved_at > 60 * self.recipe.train.save_minutes:
                    self.save()

    def _batches_of_this_device(self, epoch: int, first: int) -> Iterator[CaptionBatch | PhotoBatch]:
        """This device's share of each batch, from batch number `first`, on the device."""
        batches = self.batches.epoch(epoch, first, self.fabric.global_rank, self.fabric.world_size)
        return prefetch(batch.to(self.fabric.device) for batch in batches)

    def _step(self, batch: CaptionBatch | PhotoBatch) -> float:
        torch.manual_seed(hash((self.recipe.seed, self.state.step, self.fabric.global_rank)))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.state.step, self.steps, group["encoder"])
        loss = self.objective(batch, self.state.step / self.steps)
        all_loss = process_average(loss)  # not finite if any process has a loss that is not
        if not torch.isfinite(all_loss):
            raise self._diverged("loss", all_loss)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.recipe.train.clip:
            norm = self.fabric.clip_gradients(
                self.objective, self.optimizer, max_norm=self.recipe.train.clip, error_if_nonfinite=False
            )
            # its gradient scaler skips such a step
            skipped = self.recipe.train.precision == "16-mixed"
            if norm is not None and not skipped and not torch.isfinite(norm):  # equal in all processes
                raise self._diverged("gradient's norm", norm)
        self.optimizer.step()
        self.state.step += 1
        self._average()
        return float(all_loss.detach())

    def _diverged(self, what: str, number: Tensor) -> SeesayError:
        return SeesayError(
            f"step {self.state.step}: the {what} is {number.item()}; give a lower train.lr "
            f"(now {self.recipe.train.lr:g}) and start anew, or --resume from the last checkpoint"
        )

    def _on_any_device(self, condition: bool) -> bool:
        """Whether the condition holds in any process.

        All processes must act alike, or they would wait for each other for ever.
        """
        if self.fabric.world_size == 1:
            return condition
        count = torch.tensor(float(condition), device=self.fabric.device)
        return bool(self.fabric.all_reduce(count, reduce_op="sum"))

    @torch.no_grad()
    def _average(self) -> None:
        """Update the exponential moving average of the weights.

        The decay is lower in the first steps, so that the average is not biased towards the start.
        """
        decay = min(self.recipe.train.ema, self.state.step / (self.state.step + 10))
        current = self._current()
        for name, average in self.averaged.items():
            average.lerp_(current[name].detach(), 1 - decay)

    def _current(self) -> dict[str, Tensor]:
        """The current values of the tensors that are averaged."""
        tensors = {**dict(self.raw.named_parameters()), **dict(self.raw.named_buffers())}
        return {name: tensors[name] for name in self.averaged}

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Give the model the averaged weights within the block."""
        current = self._current()
        saved = {name: p.detach().clone() for name, p in current.items()}
        _copy(current, self.averaged)
        try:
            yield
        finally:
            _copy(current, saved)

    def _validation_due(self) -> bool:
        """Whether an epoch or the run has just ended; a run without steps is validated once."""
        if self.steps == 0:
            return not self.state.history
        step = self.state.step
        return step != self.state.validated and (step % self.per_epoch == 0 or step >= self.steps)

    def _validate(self) -> None:
        started = time.monotonic()
        with self._averaged_weights():
            self.raw.eval()
            # Captions with nearly equal scores may differ between devices, which must act on the
            # same figures.
            figures, lines = self.fabric.broadcast(self.validate())
            if figures["cider"] > self.state.best:
                self.state.best = figures["cider"]
                weights = self.raw.state_dict().items()
                self.run.save_best({name: t.detach().cpu().clone() for name, t in weights})
        self.state.seconds += time.monotonic() - started
        self.state.validated = self.state.step
        self._log(figures)
        self.save()
        self._print(figures, lines)

    def _log(self, figures: dict[str, float]) -> None:
        """Append a row to the history and to metrics.csv."""
        total, count = self.state.losses
        row = {
            "epoch": -(-self.state.step // self.per_epoch),
            "step": self.state.step,
            "loss": total / max(count, 1),
            "lr": learning_rate(self.recipe, max(self.state.step - 1, 0), self.steps),
            **figures,
            "seconds": self.state.seconds,
        }
        self.state.history.append({key: round(value, 6) for key, value in row.items()})
        self.state.losses = (0.0, 0)
        self.run.log(self.state.history)

    def _print(self, figures: dict[str, float], lines: list[str]) -> None:
        row = self.state.history[-1]
        mark = "  best so far" if figures["cider"] == self.state.best else ""
        shown = "  ".join(f"{key} {100 * value:.1f}" for key, value in figures.items())
        print_plain(
            self.console,
            f"epoch {row['epoch']}/{self.recipe.train.epochs}  loss {row['loss']:.3f}  {shown}  "
            f"{self.state.seconds / 60:.1f} min{mark}",
        )
        for line in lines:
            print_plain(self.console, f"  {line}")

    def _out_of_patience(self) -> bool:
        scores = [row["cider"] for row in self.state.history]
        if not scores or self.recipe.train.patience is None:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self.recipe.train.patience

    def save(self) -> None:
        """Write the checkpoint."""
        self.run.save_last(
            {
                "model": self.raw.state_dict(),
                "averaged": self.averaged,
                "optimizer": self.optimizer.state_dict(),
                "state": vars(self.state),
                "per_epoch": self.per_epoch,
            }
        )
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one.

        Raises:
            RecipeError: an epoch had another number of steps when the checkpoint was written.
            RunError: the checkpoint or the best weights are missing or damaged.
        """
        saved = self.run.load_last()
        if saved is None:
            return
        per_epoch = saved.get("per_epoch", self.per_epoch)  # early checkpoints lack it
        if per_epoch != self.per_epoch:
            raise RecipeError(
                f"{self.run.last}: an epoch had {per_epoch} steps, now it has {self.per_epoch}, so the training "
                "photos are others; give those that the run began with (data.path), or another out=FOLDER"
            )
        with checkpoint_errors(self.run.last):
            self.raw.load_state_dict(saved["model"])
            _copy(self.averaged, saved["averaged"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.state = TrainState(**saved["state"])
        if self.state.history:  # fail now rather than after the last epoch
            self.run.load_best()

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM or SIGHUP ends the run after the current step; a second one, at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request_stop(signum: int, frame: Any) -> None:
            if self._stop_requested.is_set():
                raise KeyboardInterrupt
            self._stop_requested.set()

        signals = [signal.SIGINT, signal.SIGTERM]
        # nohup sets SIGHUP to be ignored
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        previous = {number: signal.signal(number, request_stop) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: the encoder has its own learning rate, only matrices have decay."""
    trained = [(name.startswith("encoder."), p) for name, p in module.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for of_encoder, p in trained if of_encoder == encoder and (p.ndim > 1) == decays],
            "weight_decay": weight_decay if decays else 0.0,
            "encoder": encoder,
        }
        for encoder in (False, True)
        for decays in (True, False)
    ]
    return [group for group in groups if group["params"]]


def _averaged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The trained weights, and the running statistics of batch norms that are in training mode."""
    tensors: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    module.train()
    for name, inner in module.named_modules():
        if isinstance(inner, BatchNorm) and inner.training:
            tensors |= {f"{name}.{key}": buffer for key, buffer in inner.named_buffers() if buffer.is_floating_point()}
    return tensors


@torch.no_grad()
def _copy(target: dict[str, Any], source: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
