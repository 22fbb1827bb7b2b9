"""Which linears of a block share an input, and which module can absorb a scale on it: found by trying, then proven.

A module absorbs for a group when multiplying its output rows by factors multiplies each channel of the group's input by
one of them, at every token. Random factors that all differ tell which row feeds which channel, and so heads that share a
row (grouped-query attention) and rows that are a part of a fused projection come out by themselves. What is accepted is
then proven: with a random scale on the group's input and its inverse on the absorber, the block's output stays the same
to 1e-8 in float64. Whatever else reads the input (a router that is not among the followers, a residual) breaks the proof.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from catalog.foreign_errors import machine_fault
from quantizers.discovery.probe import Probe, Run
from quantizers.families.family import Group, Kind, RowList
from quantizers.model.skeleton import linear_shape

PROVEN = 1e-8
"""Relative error of a token that a proof allows, in float64."""
_EQUAL = 1e-9
_LEAST, _MOST = 1.25, 2.5
"""Range of factors and scales that are tried; 1 is none of them, for it marks what was left alone."""


def find_groups(probe: Probe) -> tuple[Group, ...]:
    """Return the groups of a block in the order it computes them; each linear that was run is in exactly one."""
    plain = probe.run()
    together = tuple(_together(plain))
    absorbed = _absorbed(probe, plain, [names[0] for names in together])
    members = [_member(probe, names, absorbing) for names, absorbing in zip(together, absorbed, strict=True)]
    groups: list[Group] = []
    for linears, followers, candidates in members:
        if linears and not any(set(linears) <= set(group.linears) for group in groups):
            experts = _routed(probe, plain, linears[0])
            tried = (Group(linears, *candidate, followers, experts) for candidate in candidates)
            proven = next((group for group in tried if _proves(probe, plain, group)), None)
            bare = Group(linears, experts=experts)
            groups.append(proven or _shared(probe, plain, members, candidates) or bare)
    return tuple(groups)


def reading_together(probe: Probe) -> tuple[Group, ...]:
    """Return the groups of a block by one run of it, without absorbers."""
    plain = probe.run()
    groups = (tuple(name for name in names if linear_shape(probe.matrices[name])) for names in _together(plain))
    return tuple(Group(linears, experts=_routed(probe, plain, linears[0])) for linears in groups if linears)


def _routed(probe: Probe, plain: Run, linear: str) -> bool:
    """Whether a linear is one expert's: of those that differ from it in one numbered part of its path, some read less."""
    parts = linear.split(".")
    for part in range(len(parts) - 1):
        before, after = ".".join(parts[:part]), parts[part + 1 :]
        # Experts are numbered; attention to an encoder's tokens, which are others, is like that to a decoder's own in all else.
        if not any(letter.isdigit() for letter in parts[part]):
            continue
        like = [name for name in plain.read if name.split(".")[part + 1 :] == after and name.startswith(before)]
        if len({sum(call[..., 0].numel() for call in plain.read[name]) for name in like}) > 1:
            return True
    return False


Candidate = tuple[str, Kind, RowList | None]
Member = tuple[tuple[str, ...], tuple[str, ...], list[Candidate]]
"""Linears that read the same input, other modules that do, and what may absorb for them."""


def _member(probe: Probe, names: tuple[str, ...], candidates: list[Candidate]) -> Member:
    linears = tuple(name for name in names if linear_shape(probe.matrices[name]))
    return linears, tuple(name for name in names if name not in linears), candidates


def _shared(probe: Probe, plain: Run, members: list[Member], candidates: list[Candidate]) -> Group | None:
    """A group of all that one module feeds, where each reads only a part of its tokens: experts, and their router."""
    for candidate in candidates:
        fed = [member for member in members if candidate in member[2]]
        linears = tuple(name for names, _, _ in fed for name in names)
        followers = tuple(name for _, names, _ in fed for name in names)
        group = Group(linears, *candidate, followers, experts=True)
        if len(fed) > 1 and _proves(probe, plain, group):
            return group
    return None


def _together(plain: Run) -> Iterator[tuple[str, ...]]:
    """Modules that read the same tensors, value for value, call by call."""
    groups: list[list[str]] = []
    for name, calls in plain.read.items():
        for group in groups:
            if _same(plain.read[group[0]], calls):
                group.append(name)
                break
        else:
            groups.append([name])
    return iter(map(tuple, groups))


def _same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return len(one) == len(other) and all(
        a.shape[-1] == b.shape[-1] and a.numel() == b.numel() and torch.equal(a.reshape(b.shape), b)
        for a, b in zip(one, other, strict=True)
    )


def _absorbed(probe: Probe, plain: Run, readers: list[str]) -> list[list[Candidate]]:
    """For each reader the modules that absorb for it, the one that runs last first."""
    candidates: list[list[Candidate]] = [[] for _ in readers]
    generator = torch.Generator().manual_seed(0)
    # Routers read what they read before, so that each token goes to the same experts.
    routers = {name: calls for name, calls in plain.read.items() if not linear_shape(probe.matrices[name])}
    for name, kind, rows in _candidates(probe):
        factors = torch.ones(rows.total, dtype=torch.float64)
        factors[rows.chosen] = _distinct(len(rows.chosen), generator)
        scaled = probe.run(outputs={name: factors}, fixed=routers)
        for number, reader in enumerate(readers):
            if reader == name or any(known == name for known, _, _ in candidates[number]):
                continue
            feeding = _feeding(plain.read[reader], scaled.read.get(reader, ()), factors)
            if feeding is not None:
                straight = torch.equal(feeding, torch.arange(rows.total))
                listed = None if straight else RowList(tuple(feeding.tolist()))
                candidates[number].insert(0, (name, kind, listed if kind == "linear" else None))
    return candidates


class _Rows:
    """Rows of a module's output that are tried together."""

    def __init__(self, total: int, chosen: Tensor) -> None:
        self.total, self.chosen = total, chosen


def _candidates(probe: Probe) -> Iterator[tuple[str, Kind, _Rows]]:
    for name, module in probe.vectors.items():
        if kind := norm_kind(module):
            count = module.weight.numel()  # type: ignore[union-attr,operator]
            yield name, kind, _Rows(count, torch.arange(count))
    for name, module in probe.matrices.items():
        if shape := linear_shape(module):
            for chosen in _segments(shape[0]):
                yield name, "linear", _Rows(shape[0], chosen)


def _segments(rows: int) -> Iterator[Tensor]:
    """All rows; then what values are in fused projections: the last rows, or the last part of each head."""
    every = torch.arange(rows)
    yield every
    for parts in (2, 3):
        if rows % parts == 0:
            yield from every.view(parts, -1).flip(0)
    for width in (2**power for power in range(3, 9)):
        for parts in (3, 2):
            if rows % (parts * width) == 0 and rows > parts * width:
                yield every.view(-1, parts, width)[:, -1].flatten()
    # Grouped queries: values are the last n of (g + 2) n rows, for g query heads that share one.
    for shared in range(2, 17):
        if rows % (shared + 2) == 0:
            yield every[-(rows // (shared + 2)) :]


def _distinct(count: int, generator: torch.Generator) -> Tensor:
    """Factors between `_LEAST` and `_MOST` in random order, no two alike."""
    spread = torch.linspace(_LEAST, _MOST, count + 1, dtype=torch.float64)[1:]
    return spread[torch.randperm(count, generator=generator)]


def _feeding(before: tuple[Tensor, ...], after: tuple[Tensor, ...], factors: Tensor) -> Tensor | None:
    """The row that feeds each channel, int64 `[in]`; None unless every channel is multiplied by one row's factor."""
    if len(before) != len(after) or any(a.shape != b.shape for a, b in zip(before, after, strict=True)):
        return None
    old, new = (torch.cat([call.flatten(0, -2) for call in calls]) for calls in (before, after))
    square = old.square().sum(0)
    ratio = (old * new).sum(0) / square
    if not bool((square > 0).all()) or not _close(new, old * ratio):
        return None
    order = torch.argsort(factors)
    # The factor next above the ratio less the tolerance is the ratio's own, if any is.
    rows = order[torch.searchsorted(factors[order], ratio - _EQUAL).clamp(max=len(factors) - 1)]
    named = (factors[rows] - ratio).abs() <= _EQUAL
    # A factor of 1 belongs to rows that were left alone.
    return rows if bool((named & (factors[rows] != 1.0)).all()) else None


def _close(one: Tensor, other: Tensor, tolerance: float = _EQUAL) -> bool:
    scale = other.abs().amax(0).clamp(min=1e-30)
    return bool((((one - other).abs() / scale) <= tolerance).all())


@torch.no_grad()
def norm_kind(module: nn.Module) -> Kind | None:
    """How a norm multiplies by its weight, seen by running it without; None when neither way explains its output."""
    weight: Tensor = module._parameters["weight"]  # type: ignore[assignment]
    read = torch.randn(3, len(weight), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    try:
        with_weight = _answer(module, read)
        kept = weight.clone()
        weight.zero_()
        try:
            bare = _answer(module, read)
        finally:
            weight.copy_(kept)
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        if fault := machine_fault(error):
            raise fault from error
        return None  # it is called with more than hidden states: a norm with a gate, a convolution
    if bare is None or with_weight is None or bare.shape != read.shape:
        return None
    bias = module._parameters.get("bias")
    shift = torch.zeros_like(weight.double()) if bias is None else bias.double()
    if _close(bare - shift + 1.0, torch.ones_like(bare)):
        return "norm"
    # Such a norm adds 1 in float32.
    return "norm_plus_one" if _close(with_weight, bare * (1.0 + weight.double()), 1e-6) else None


def _answer(module: nn.Module, read: Tensor) -> Tensor | None:
    from quantizers.transforms.float64 import Double

    with Double():
        answer = module(read)
    return answer if isinstance(answer, Tensor) else None


def _proves(probe: Probe, plain: Run, group: Group) -> bool:
    """Whether the block computes the same with a random scale on the group's input, and its inverse on the absorber."""
    assert group.absorber is not None
    channels = plain.read[group.linears[0]][0].shape[-1]
    rows = torch.tensor(group.rows.of(channels) if group.rows else range(channels))
    module = probe.block.get_submodule(group.absorber)
    shape = linear_shape(module)
    outputs = shape[0] if shape else channels
    by_row = _distinct(outputs, torch.Generator().manual_seed(1))
    inverse = torch.ones(outputs, dtype=torch.float64)
    inverse[rows] = 1.0 / by_row[rows]
    readers = (*group.linears, *group.followers)
    folded = probe.run(outputs={group.absorber: inverse}, inputs=dict.fromkeys(readers, by_row[rows]))
    error = (folded.output - plain.output).norm(dim=-1) / plain.output.norm(dim=-1).clamp(min=1e-30)
    return bool(error.max() <= PROVEN) and all(map(_stays, plain.others, folded.others))


def _stays(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    finite = torch.isfinite(one)
    same = torch.equal(finite, torch.isfinite(other))
    return same and bool((one - other)[finite].norm() <= PROVEN * one[finite].norm().clamp(min=1e-30))
