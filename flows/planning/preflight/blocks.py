"""A block unlike all others of its list: all that headers show of a fault in a model whose architecture has no table.

Blocks may differ by design: some architectures alternate kinds of attention, begin with a dense block among mixtures, or leave
out the first block's norm. So only what no design does is refused: of three blocks or more, one lacks tensors that all the others
have and has none of its own, or one tensor alone of one block has another shape than in all the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from flows.files.headers import Tensor

_IN_LIST = re.compile(r"^(?P<list>.*?)(?P<number>(?<=\.)\d+)\.(?P<name>.+)$")
_FEWEST = 3
"""Blocks of a list from which one is unlike the others."""
Blocks = Mapping[int, Mapping[str, tuple[int, ...]]]
"""By number: name within the block → shape."""


def odd_one(tensors: Mapping[str, Tensor]) -> str | None:
    """Return what a block lacks, or has in another shape, that all others of its list agree on, in a sentence; or None."""
    lists: dict[str, dict[int, dict[str, tuple[int, ...]]]] = defaultdict(lambda: defaultdict(dict))
    for name, tensor in tensors.items():
        if match := _IN_LIST.match(name):
            lists[match["list"]][int(match["number"])][match["name"]] = tensor.shape
    whole = {path: blocks for path, blocks in lists.items() if len(blocks) >= _FEWEST}
    return next(
        (fault for path, blocks in whole.items() for fault in (*_lacking(path, blocks), *_other(path, blocks))), None
    )


def _lacking(path: str, blocks: Blocks) -> Iterator[str]:
    for number, block in blocks.items():
        others = [other.keys() for at, other in blocks.items() if at != number]
        shared = set(others[0]).intersection(*others[1:])
        missing = sorted(name for name in shared if name not in block)
        if missing and not block.keys() - shared and _is_fault(missing, block, blocks, number):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            yield f"the weights hold no tensor {path}{number}.{missing[0]}{more}, which all other {len(others)} blocks have"


def _is_fault(missing: list[str], block: Mapping[str, tuple[int, ...]], blocks: Blocks, number: int) -> bool:
    """Whether something is missing inside a part that is there, or a norm; whole parts may be left out by design."""
    parts = {name.partition(".")[0] for name in block}
    other = next(other for at, other in blocks.items() if at != number)
    norm = len(other[missing[0]]) == 1 and number != min(blocks)
    return any(name.partition(".")[0] in parts for name in missing) or (len(missing) == 1 and norm)


def _other(path: str, blocks: Blocks) -> Iterator[str]:
    for number, block in blocks.items():
        others = [other for at, other in blocks.items() if at != number]
        unlike = {
            name: others[0][name]
            for name, shape in block.items()
            if len({other.get(name) for other in others}) == 1 and others[0].get(name) not in (None, shape)
        }
        if len(unlike) == 1:
            ((name, wanted),) = unlike.items()
            yield f"tensor {path}{number}.{name} is {list(block[name])}, and in all other {len(others)} blocks {list(wanted)}"
