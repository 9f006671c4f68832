"""The training loop: reads from top to bottom, resumes at any step as if never interrupted.

Everything random depends on (seed, epoch, step) alone, and the learning rate on the recipe and the step, so the
checkpoint needs neither random states nor a scheduler, and a rate given anew is obeyed.
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
from seesay.progress import progress
from seesay.training.inputs.batches import CaptionBatch, CaptionBatches, PhotoBatch, ahead
from seesay.training.run_folder import RunFolder, fitting

Validate = Callable[[], tuple[dict[str, float], list[str]]]


@dataclass
class TrainState:
    """What a checkpoint holds besides weights and optimiser.

    Attributes:
        step: optimiser steps done.
        validated: the step at which dev captions were scored last.
        best: highest dev CIDEr so far.
        seconds: spent training and validating, all runs together.
        losses: summed loss and number of batches since the last validation.
        history: one row of figures an epoch.
    """

    step: int = 0
    validated: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    losses: tuple[float, int] = (0.0, 0)
    history: list[dict[str, float]] = field(default_factory=list)


class StoppedError(Exception):
    """Ctrl-C or a polite kill: everything was saved, `--resume` goes on."""


def learning_rate(recipe: Recipe, step: int, steps: int, encoder: bool = False) -> float:
    """Linear warm-up over the first `train.warmup` of the steps, then a cosine down to zero.

    Args:
        recipe: the highest rates are `train.lr` and, for the encoder, `encoder.lr`.
        step: from 0.
        steps: of the whole run.
        encoder: whether the rate is that of the encoder's weights.
    """
    highest = recipe.encoder.lr if encoder else recipe.train.lr
    warm = max(1, round(recipe.train.warmup * steps))
    if step < warm:
        return highest * (step + 1) / warm
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Trainer:
    """One run of `objective` on `batches`.

    Args:
        recipe: rates, lengths, precision.
        run: the folder that checkpoints and figures go to.
        fabric: devices and precision, launched.
        objective: a module, (batch, share of the run that is done) -> loss.
        batches: of the training split.
        validate: generates and scores dev captions with the weights as they are -> (figures, lines to print).
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
        everything = recipe.train.epochs * self.per_epoch
        self.steps = min(everything, recipe.train.max_steps or everything)
        fused = recipe.train.precision != "16-mixed"  # whose scaler cannot clip what such an optimiser unscales
        groups = _groups(objective, recipe.train.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=recipe.train.lr, betas=(0.9, 0.98), fused=fused)
        self.raw = objective
        self.objective, self.optimizer = fabric.setup(objective, optimizer)
        self.averaged = {name: tensor.detach().clone() for name, tensor in _learnt(objective).items()}
        self.state = TrainState()
        self._stop = threading.Event()
        self._saved_at = time.monotonic()

    def fit(self) -> None:
        """Train to the end, or until dev CIDEr has not risen for `train.patience` epochs.

        Raises:
            StoppedError: a signal asked for it; everything is saved.
        """
        with self._stop_on_signals():
            while True:
                if self._validation_due():
                    self._validate()
                if self.state.step >= self.steps or self._out_of_patience():
                    return
                self._train_to_end_of_epoch()

    def _train_to_end_of_epoch(self) -> None:
        epoch, place = divmod(self.state.step, self.per_epoch)
        todo = min(self.per_epoch - place, self.steps - self.state.step)
        self.objective.train()
        with progress(f"epoch {epoch + 1}", place + todo, self.console, place) as advance:
            started = time.monotonic()
            for _, batch in zip(range(todo), self._my_batches(epoch, place), strict=False):
                loss = self._step(batch)
                self.state.losses = (self.state.losses[0] + loss, self.state.losses[1] + 1)
                started, before = time.monotonic(), started
                self.state.seconds += started - before
                advance(note=f"loss {self.state.losses[0] / self.state.losses[1]:.3f}")
                if self._anywhere(self._stop.is_set()):
                    self.save()
                    self.fabric.barrier()  # one that ends takes the others with it, and the first is writing
                    raise StoppedError
                if time.monotonic() - self._saved_at > 60 * self.recipe.train.save_minutes:
                    self.save()

    def _my_batches(self, epoch: int, place: int) -> Iterator[CaptionBatch | PhotoBatch]:
        """This device's share of each batch, on the device."""
        mine = self.batches.epoch(epoch, place, self.fabric.global_rank, self.fabric.world_size)
        return ahead(batch.to(self.fabric.device) for batch in mine)

    def _step(self, batch: CaptionBatch | PhotoBatch) -> float:
        torch.manual_seed(hash((self.recipe.seed, self.state.step, self.fabric.global_rank)))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.state.step, self.steps, group["encoder"])
        loss = self.objective(batch, self.state.step / self.steps)
        if self._anywhere(not torch.isfinite(loss)):
            raise self._diverged("loss", loss)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.recipe.train.clip:
            norm = self.fabric.clip_gradients(
                self.objective, self.optimizer, max_norm=self.recipe.train.clip, error_if_nonfinite=False
            )
            lets_pass = self.recipe.train.precision == "16-mixed"  # whose scaler leaves such a step out
            if norm is not None and not lets_pass and not torch.isfinite(norm):  # the same in all processes
                raise self._diverged("gradient's norm", norm)
        self.optimizer.step()
        self.state.step += 1
        self._average()
        return float(loss.detach())

    def _diverged(self, what: str, number: Tensor) -> SeesayError:
        return SeesayError(
            f"step {self.state.step}: the {what} is {number.item()}; give a lower train.lr "
            f"(now {self.recipe.train.lr:g}) and start anew, or --resume from the last checkpoint"
        )

    def _anywhere(self, here: bool) -> bool:
        """Whether it is so in any of the processes: what one does alone, the others would wait for."""
        if self.fabric.world_size == 1:
            return here
        return bool(self.fabric.all_reduce(torch.tensor(float(here), device=self.fabric.device), reduce_op="sum"))

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights; young averages forget faster, so that they have no bias."""
        kept = min(self.recipe.train.ema, self.state.step / (self.state.step + 10))
        ours = self._now()
        for name, average in self.averaged.items():
            average.lerp_(ours[name].detach(), 1 - kept)

    def _now(self) -> dict[str, Tensor]:
        """The tensors that are averaged, as they are."""
        everything = {**dict(self.raw.named_parameters()), **dict(self.raw.named_buffers())}
        return {name: everything[name] for name in self.averaged}

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The averaged weights in the model's place."""
        ours = self._now()
        kept = {name: p.detach().clone() for name, p in ours.items()}
        _copy(ours, self.averaged)
        try:
            yield
        finally:
            _copy(ours, kept)

    def _validation_due(self) -> bool:
        """At the end of every epoch and of the run, once; and where nothing is to be trained."""
        if self.steps == 0:
            return not self.state.history
        step = self.state.step
        return step != self.state.validated and (step % self.per_epoch == 0 or step >= self.steps)

    def _validate(self) -> None:
        started = time.monotonic()
        total, count = self.state.losses
        with self._averaged_weights():
            self.raw.eval()
            # every device must draw the same conclusions, and a near tie may be written differently on another
            figures, lines = self.fabric.broadcast(self.validate())
            if figures["cider"] > self.state.best:
                self.state.best = figures["cider"]
                self.run.save_best({name: t.detach().cpu().clone() for name, t in self.raw.state_dict().items()})
        self.state.seconds += time.monotonic() - started
        self.state.validated = self.state.step
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
        self.save()
        mark = "  best so far" if figures["cider"] == self.state.best else ""
        shown = "  ".join(f"{key} {100 * value:.1f}" for key, value in figures.items())
        self.console.print(
            f"epoch {row['epoch']}/{self.recipe.train.epochs}  loss {row['loss']:.3f}  {shown}  "
            f"{self.state.seconds / 60:.1f} min{mark}",
            highlight=False,
            soft_wrap=True,
        )
        for line in lines:
            self.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)

    def _out_of_patience(self) -> bool:
        scores = [row["cider"] for row in self.state.history]
        if not scores or self.recipe.train.patience is None:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self.recipe.train.patience

    def save(self) -> None:
        """Write the checkpoint that `resume` reads."""
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
        """Go on where the last checkpoint ends; afresh where there is none.

        Raises:
            RecipeError: an epoch of the checkpoint's has another number of steps.
            RunError: the checkpoint, or that of the best epoch, is missing or damaged.
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
        with fitting(self.run.last):
            self.raw.load_state_dict(saved["model"])
            _copy(self.averaged, saved["averaged"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.state = TrainState(**saved["state"])
        if self.state.history:  # rather now than after the last epoch
            self.run.load_best()

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first Ctrl-C, SIGTERM or SIGHUP ends the run after the step in hand; the second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(signum: int, frame: Any) -> None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            self._stop.set()

        numbers = [signal.SIGINT, signal.SIGTERM]
        if (
            hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        ):  # which is what nohup is for
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained: the encoder has a rate of its own; matrices decay, biases and other vectors do not."""
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


def _learnt(module: nn.Module) -> dict[str, Tensor]:
    """Weights that are trained, and the statistics of batch norms that follow the batches."""
    learnt: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    module.train()
    for name, inner in module.named_modules():
        if isinstance(inner, BatchNorm) and inner.training:
            learnt |= {f"{name}.{key}": buffer for key, buffer in inner.named_buffers() if buffer.is_floating_point()}
    return learnt


@torch.no_grad()
def _copy(into: dict[str, Any], source: dict[str, Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(source[name])
