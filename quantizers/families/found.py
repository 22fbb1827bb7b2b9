"""What was found of a model without a table, as its record keeps it. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from quantizers.families.family import Family, Group, Kind, RowList, Rows


class FoundGroup(BaseModel):
    """`Group`, with a digest of the rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    linears: tuple[str, ...]
    absorber: str | None = None
    kind: Kind = "none"
    rows: str | None = None
    """sha256 of the absorber's row that feeds each channel, in the order of the channels; None: row c feeds channel c."""
    followers: tuple[str, ...] = ()
    experts: bool = False


class Found(BaseModel):
    """The chain of blocks of a model, or its blocks in the order of their last calls, and what surrounds them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_type: str
    blocks: dict[str, int]
    """Path of a list of blocks, or of one block → which of `groups` are its."""
    groups: tuple[tuple[FoundGroup, ...], ...]
    times: dict[str, int] = {}
    """Blocks that one forward calls more than once → how often."""
    hidden: str | None = None
    """Name of the argument of a chain's blocks that takes the hidden states."""
    embeddings: tuple[str, ...] = ()
    final_norm: str | None = None
    before_head: tuple[str, ...] = ()
    head: str = ""


def found(family: Family) -> Found | None:
    """Return what a record keeps of a family; None for one from a table."""
    if not family.discovered:
        return None
    own = {stack.path: stack.groups for stack in family.stacks} | {p: each.groups for p, each in family.calls.items()}
    kinds = list(dict.fromkeys(own.values()))
    chain = family.stacks[0] if family.stacks else None
    return Found(
        model_type=family.model_type,
        blocks={path: kinds.index(groups) for path, groups in own.items()},
        groups=tuple(tuple(map(_group, groups)) for groups in kinds),
        times={path: each.times for path, each in family.calls.items() if each.times > 1},
        hidden=chain.hidden if chain else None,
        embeddings=family.embeddings,
        final_norm=chain.final_norm if chain else None,
        before_head=family.before_head,
        head=family.head,
    )


def _group(group: Group) -> FoundGroup:
    return FoundGroup(
        linears=group.linears,
        absorber=group.absorber,
        kind=group.kind,
        rows=None if group.rows is None else _digest(group.rows),
        followers=group.followers,
        experts=group.experts,
    )


def _digest(rows: Rows | RowList) -> str:
    text = repr(rows.rows if isinstance(rows, RowList) else rows)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(before: Found, now: Found) -> Iterator[str]:
    """What is found otherwise than it was, a clause each."""
    for name in ("model_type", "hidden", "embeddings", "final_norm", "before_head", "head", "times"):
        one, other = getattr(before, name), getattr(now, name)
        if one != other:
            yield f"{name} {_shown(one)} → {_shown(other)}"
    for path in dict.fromkeys((*before.blocks, *now.blocks)):
        old, new = ({group.linears: group for group in _of(each, path)} for each in (before, now))
        changed = [linears for linears in dict.fromkeys((*old, *new)) if old.get(linears) != new.get(linears)]
        for linears in changed:
            what = (_feeds(each.get(linears)) for each in (old, new))
            yield f"{path}: {', '.join(linears)}: {' → '.join(what)}"


def _of(each: Found, path: str) -> tuple[FoundGroup, ...]:
    return each.groups[each.blocks[path]] if path in each.blocks else ()


def _feeds(group: FoundGroup | None) -> str:
    if group is None:
        return "no group"
    return f"absorbed by {group.absorber}" if group.absorber else "absorbed by nothing"


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
