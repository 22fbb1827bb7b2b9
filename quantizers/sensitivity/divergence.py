"""KL divergence of hidden states after the last block, the head read a few rows of the vocabulary at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from quantizers.calibration.activations import Activations
from quantizers.families.family import Family
from quantizers.hardware.threads import side_by_side
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton
from quantizers.model.values import materialize


class _Softmax:
    """The normalizer of a softmax, summed over parts of the vocabulary (arXiv:1805.02867)."""

    def __init__(self, tokens: int) -> None:
        self._top = torch.full((tokens, 1), -torch.inf)
        self.total = torch.zeros(tokens, dtype=torch.float64)

    def add(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Take float32 `[tokens, part]` logits; their exponentials, and what earlier ones are multiplied by since."""
        top = torch.maximum(self._top, logits.amax(-1, keepdim=True))
        shrunk, mass = (self._top - top).exp().double()[:, 0], (logits - top).exp_()
        self.total = self.total * shrunk + mass.sum(-1, dtype=torch.float64)
        self._top = top
        return mass, shrunk

    @property
    def log(self) -> Tensor:
        """Logarithm of the sum of exponentials, float64 `[tokens]`."""
        return self._top[:, 0].double() + self.total.log()


def divergences(
    checkpoint: Checkpoint, skeleton: Skeleton, family: Family, original: Tensor, streams: Activations
) -> list[float]:
    """Mean KL divergence from `original` of every stream, nats per token.

    Args:
        checkpoint: the original.
        skeleton: its modules.
        family: where its head is.
        original: hidden states after the last block, float32 `[rows, tokens, hidden]`.
        streams: others of the same shape, one a batch; they are taken to the head's input in place.
    """
    ours = _ended(checkpoint, skeleton, family, original)
    tokens = len(ours)
    for number in range(len(streams)):
        streams[number] = _ended(checkpoint, skeleton, family, streams[number])
    p, others = _Softmax(tokens), [_Softmax(tokens) for _ in range(len(streams))]
    # The expectation, under the original, of the difference of logits.
    expected = [torch.zeros(tokens, dtype=torch.float64) for _ in others]
    for weight, bias in _head(checkpoint, skeleton, family.head):
        logits = torch.nn.functional.linear(ours, weight, bias)
        mass, shrunk = p.add(logits)

        def add(
            number: int,
            weight: Tensor = weight,
            bias: Tensor | None = bias,
            logits: Tensor = logits,
            mass: Tensor = mass,
            shrunk: Tensor = shrunk,
        ) -> None:
            theirs = torch.nn.functional.linear(streams[number], weight, bias)
            gap = (logits - theirs).mul_(mass).sum(-1, dtype=torch.float64)
            expected[number] = expected[number] * shrunk + gap
            others[number].add(theirs)

        side_by_side(add, range(len(streams)))
    return [float((e / p.total - p.log + q.log).mean()) for e, q in zip(expected, others, strict=True)]


def _ended(checkpoint: Checkpoint, skeleton: Skeleton, family: Family, hidden: Tensor) -> Tensor:
    paths = [family.stacks[0].final_norm, *family.before_head]
    for path in (path for path in paths if path is not None):
        hidden = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)(hidden)
    return hidden.flatten(0, 1)


def _head(checkpoint: Checkpoint, skeleton: Skeleton, head: str) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Float32 rows `[part, hidden]` of the head, and its bias."""
    name = f"{head}.weight"
    key = skeleton.source.get(name) or skeleton.source[skeleton.tied[name]]
    bias = skeleton.source.get(f"{head}.bias")
    for start, rows in checkpoint.chunks(key):
        yield rows.float(), None if bias is None else checkpoint.rows(bias, start, start + len(rows)).float()
