"""Long rows: text of the evaluation with facts planted in it, and the facts asked for at the end.

Of a long row not every logit fits into memory: those are asked for that precede the values of facts, and some of each octave of
positions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from catalog.progress import report
from gates.checks import behaviour
from gates.clients.client import Loaded
from gates.errors import GateError
from gates.evaluation.findings import Findings
from gates.evaluation.scoring import POSITIONS
from gates.evidence import Document
from gates.kinds.long_context import NAME, LongRequest, LongRows
from gates.tasks.contract import Asked, Data, NotFinite, Row, Stored, finite


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KEYS = _words(
    "anchor badge candle drum envelope feather guitar hammer inkwell jacket kettle ladder mirror needle oven pillow quilt razor "
    "saddle table umbrella violin whistle yarn zipper basket compass dagger engine flute glove helmet island journal kitten "
    "lantern marble napkin orchard pencil quarry ribbon shovel trumpet unicorn village wagon acorn bucket cradle dolphin elbow "
    "funnel garden harbour insect jungle kennel lemon meadow nutmeg otter parrot raft"
)
VALUES = _words(
    "amber bronze coral denim ebony fawn green hazel ivory jade khaki lilac maroon navy ochre pink quartz ruby silver teal umber "
    "velvet white yellow azure beige copper dusk emerald flint gold indigo"
)
FIRST_OCTAVE = 128
"""Positions before it are told together."""
PLACES = 256
"""Positions of an octave that are scored in a row, at the most."""


@dataclass(frozen=True)
class _Pieces:
    """What rows are put together from, as token ids."""

    tokenizer: Any
    text: Tensor
    """int64 (tokens,): all documents, one after the other."""
    begin: tuple[int, ...]
    """What the tokenizer puts before a text."""

    def ids(self, text: str) -> list[int]:
        """Tokenize a part of a row."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def fact(self, key: str, value: str) -> tuple[list[int], list[int], list[int]]:
        """Return a line that holds a fact: what comes before its value, the value, and what ends the line."""
        asks, whole = self.ids(f"\nThe code word for {key} is"), self.ids(f"\nThe code word for {key} is {value}")
        same = next((n for n, (a, b) in enumerate(zip(asks, whole, strict=False)) if a != b), len(asks))
        return whole[:same], whole[same:], self.ids(".\n")


def original(loaded: Loaded, data: Sequence[Data], asked: Asked, settings: dict[str, Any]) -> None:
    """Store every row with the original's loss at its scored places, float32, and whether each token was the likeliest.

    Raises GateError for a text that does not fill the rows, and where the original is to recall facts and recalls none.
    """
    wanted, pieces = LongRequest.model_validate(settings), _pieces(asked.tokenizer, data)
    lengths = wanted.of(loaded.context, len(pieces.text))
    _refuse(wanted, lengths, len(pieces.text), loaded.context)
    stored = Stored(asked.baseline / NAME)
    stored.directory.mkdir()
    count = 0
    for length in lengths:
        recalled = 0.0
        for number in range(wanted.rows):
            row = _packed(pieces, length, number, wanted.facts)
            loss, hit = _scored(loaded, row)
            stored.write(count, {**row, "loss": loss, "hit": hit.to(torch.uint8)})
            recalled += float(_by_fact(row, hit.float()).eq(1).sum())
            count += 1
            report("original: long rows", count, len(lengths) * wanted.rows)
        if wanted.recall and not recalled:
            raise GateError(
                f"The original recalls none of {wanted.rows * wanted.facts} facts in rows of {length:,} tokens, so there is "
                "nothing that an artifact could lose. Name shorter `lengths` in the gate long_context, or write "
                "`min_recall: null` there, which leaves the loss by position."
            )


def artifact(loaded: Loaded, asked: Asked, settings: dict[str, Any], findings: Findings) -> tuple[Document, ...]:
    """Read the same rows."""
    stored = Stored(asked.baseline / NAME)
    documents = []
    for index in range(len(stored)):
        row = stored.read(index)
        try:
            loss, hit = _scored(loaded, row)
        except NotFinite:
            findings.add(behaviour.finite(f"long row {index}"))
            break
        documents.append(Document(index=index, tokens=len(loss), **_compared(row, loss, hit)))
        report("artifact: long rows", index + 1, len(stored))
    return tuple(documents)


def _pieces(tokenizer: Any, data: Sequence[Data]) -> _Pieces:
    begin = tokenizer("a")["input_ids"][:1]
    pieces = _Pieces(tokenizer, torch.empty(0), tuple(begin) if begin == [tokenizer.bos_token_id] else ())
    ids = [token for each in data for token in pieces.ids(each["text"] + "\n\n")]
    return _Pieces(tokenizer, torch.tensor(ids, dtype=torch.int64), pieces.begin)


def _refuse(wanted: LongRows, lengths: tuple[int, ...], text: int, context: int | None) -> None:
    most = min(text // wanted.rows, context or text)
    if not lengths or lengths[-1] > most:
        raise GateError(
            f"The gate long_context asks for {wanted.rows} rows of {lengths[-1] if lengths else 'some thousand'} tokens; the "
            f"evaluation text has {text:,} tokens, and the model was made for {context or 'any number'}. Give more text, or ask "
            f"for `lengths` of at most {most:,}."
        )


def _packed(pieces: _Pieces, length: int, number: int, facts: int) -> Row:
    """Put a row together.

    Returns `ids`, int32 (length,); `places`, int32: those that are scored, ascending; and `facts`, int32 (facts, 2): where the
    value of each begins and ends among the places, in order of depth.
    """
    rng = random.Random(f"{length}/{number}")
    planted = [pieces.fact(key, rng.choice(VALUES)) for key in rng.sample(KEYS, facts)]
    lines = [[*before, *value, *after] for before, value, after in planted]
    room = length - len(pieces.begin) - 2 * sum(map(len, lines))
    if 2 * room < length:
        raise GateError(
            f"Rows of {length:,} tokens do not hold {facts} facts, which are asked for at their end, and as much text. Plant "
            "fewer `facts` in the gate long_context, or ask for longer rows."
        )
    text = pieces.text[number * length :][:room].tolist()
    ids, plain = list(pieces.begin), list[int]()
    for depth, line in enumerate(lines):
        part = text[room * depth // facts : room * (depth + 1) // facts]
        plain += range(len(ids), len(ids) + len(part))
        middle = len(part) // 2
        # A fact stands in the middle of its part of the text, which moves what comes after it.
        plain[len(plain) - len(part) + middle :] = range(
            len(ids) + middle + len(line), len(ids) + len(part) + len(line)
        )
        ids += [*part[:middle], *line, *part[middle:]]
    values: list[range] = [range(0)] * facts
    for depth in rng.sample(range(facts), facts):
        before, value, after = planted[depth]
        values[depth] = range(len(ids) + len(before), len(ids) + len(before) + len(value))
        ids += [*before, *value, *after]
    places = sorted({place for value in values for place in value}.union(_chosen(plain, rng)))
    at = {place: index for index, place in enumerate(places)}
    spans = [[at[value[0]], at[value[-1]] + 1] for value in values]
    return {
        "ids": torch.tensor(ids, dtype=torch.int32),
        "places": torch.tensor(places, dtype=torch.int32),
        "facts": torch.tensor(spans, dtype=torch.int32),
    }


def _chosen(plain: Sequence[int], rng: random.Random) -> Iterator[int]:
    """Choose positions of every octave, of those that hold text; the very first is predicted from nothing."""
    octaves: dict[int, list[int]] = {}
    for place in plain:
        if place:
            octaves.setdefault(_octave(place), []).append(place)
    for places in octaves.values():
        yield from rng.sample(places, min(PLACES, len(places)))


def _octave(place: int) -> int:
    """Where the octave of a position begins."""
    return 0 if place < FIRST_OCTAVE else 1 << (place.bit_length() - 1)


def _scored(loaded: Loaded, row: Row) -> tuple[Tensor, Tensor]:
    """Return the loss at each place, float32 (places,), in nats, and whether its token was the likeliest. Raises NotFinite."""
    ids, places = row["ids"].long(), row["places"].long()
    logits = finite(loaded.logits_at(ids, places - 1))
    targets = ids[places]
    parts = zip(torch.split(logits, POSITIONS), torch.split(targets, POSITIONS), strict=True)
    loss = torch.cat([cross_entropy(part.float(), target, reduction="none") for part, target in parts])
    return loss, logits.argmax(-1) == targets


def _by_fact(row: Row, amounts: Tensor) -> Tensor:
    """Return the mean of amounts at places over the tokens of each fact's value, (facts,)."""
    return torch.stack([amounts[start:end].mean() for start, end in row["facts"].tolist()])


def _compared(row: Row, loss: Tensor, hit: Tensor) -> dict[str, Any]:
    """Return what is kept of a row: facts, in order of depth, and text by octave."""
    before, after = (_by_fact(row, each.float()) == 1 for each in (row["hit"], hit))
    sums = {
        "length": float(len(row["ids"])),
        "recalled_original": float(before.sum()),
        "recalled": float(after.sum()),
        "lost": float((before & ~after).sum()),
        "fact_loss_original": float(_by_fact(row, row["loss"]).sum()),
        "fact_loss": float(_by_fact(row, loss).sum()),
    }
    inside = {place for start, end in row["facts"].tolist() for place in range(start, end)}
    for index, place in enumerate(row["places"].tolist()):
        if index in inside:
            continue
        octave = _octave(place)
        for name, amount in (
            ("places", 1.0),
            ("loss", float(loss[index])),
            ("loss_original", float(row["loss"][index])),
        ):
            sums[f"{name}.{octave}"] = sums.get(f"{name}.{octave}", 0.0) + amount
    tops = {"recalled_original": tuple(before.float().tolist()), "recalled": tuple(after.float().tolist())}
    return {"sums": sums, "tops": tops}
