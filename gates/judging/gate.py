"""What a gate is: one object that says what a manifest may ask, what it needs, how it is judged and how it reads.

Each is a file of `gates.kinds` and a row of `gates.spec.Gates`. Imports neither torch nor numpy: planning reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from gates.evidence import Document, Evidence
from gates.judging.domains import worst_domain
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look, look_at

if TYPE_CHECKING:
    from torch import Tensor

CHAT = "chat."
"""What the name of a gate over conversations begins with."""


@dataclass(frozen=True)
class Positions:
    """What both models say at the scored positions of one row; each tensor of shape (positions,)."""

    targets: Tensor | None
    """int64: the true tokens, or classes; None where nobody knows them."""
    first_original: Tensor
    """int64: the token, or class, that the original ranks first."""
    first: Tensor
    """int64: what the artifact ranks first."""
    loss_original: Tensor | None
    """float64: negative log-likelihood of the target under the original, in nats."""
    loss: Tensor | None
    """float64: the same under the artifact."""
    kld: Tensor
    """float64: KL divergence of the artifact from the original, in nats."""

    @property
    def count(self) -> int:
        """Positions compared."""
        return len(self.kld)


@dataclass(frozen=True)
class Hits:
    """What both models choose of one row, and how much of that is right: entities of a sentence, or tokens of an answer."""

    before: int
    """Right ones of the original."""
    chosen_before: int
    after: int
    """Right ones of the artifact."""
    chosen_after: int
    true: int


@dataclass(frozen=True)
class Embedded:
    """What both models' vectors of one text say, by themselves and beside those of a collection."""

    cosine: float
    """Of the artifact's vector with the original's."""
    overlap: float
    """Share of the ten nearest of the collection that stay among them."""
    correlation: float
    """Spearman's, of the similarities to the collection."""
    count: int = 1
    """Positions compared."""


Sums = Mapping[str, Callable[[Any], float | None]]
"""Of what a task compares a row as: `Positions`, or an object of its own. None is not kept."""
Tops = Mapping[str, Callable[[Any], Sequence[float]]]
Measures = Mapping[str, Measure]
Numbers = Mapping[str, Callable[[Sequence[Document]], float]]


@dataclass(frozen=True)
class Plot:
    """A quantity to draw for every document."""

    heading: str
    label: str
    """Of the axis."""
    measure: str
    """Quantity of `gates.evidence.Summary` that is its mean, with bounds."""
    amount: Callable[[Document], float]
    """Summed over the document's positions."""


class Gate(BaseModel, ABC):
    """One thing that must hold before a release. Its fields are what a manifest may ask."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    sums: ClassVar[Sums] = {}
    """What evidence keeps of every document, asked for or not, by name: numbers that add up over positions."""
    tops: ClassVar[Tops] = {}
    """The same for numbers that are kept one by one."""
    labelled: ClassVar[bool] = False
    """Whether these are about what is known to be true, so that rows without it have none."""
    measures: ClassVar[Measures] = {}
    """What a summary tells of the sums, with bounds, by name."""
    numbers: ClassVar[Numbers] = {}
    """What it tells without bounds; there is a document."""
    generates: ClassVar[bool] = False
    """Whether the original has to generate, so that its weights must fit into memory together."""
    plot: ClassVar[Plot | None] = None
    """What a verdict's page draws of it."""

    @abstractmethod
    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Hold the evidence against what is asked; a row for each limit, called `name` or a part of it.

        confidence: one-sided, with which each limit must hold over all looks at the evidence.
        """

    def drawn_limit(self) -> float | None:
        """Where the limit stands in the plot; None: nowhere."""
        return None


@dataclass(frozen=True)
class Read:
    """Rows that both models read for one gate besides those of evaluation."""

    rows: int
    tokens: int
    """Of each row."""


class MeasuredGate(Gate):
    """A gate over what is measured for it alone, when it is asked for, by the module of `gates.measurements` of its name.

    That is kept under its name in `Evidence.measured`.
    """

    settings: ClassVar[type[BaseModel]]
    """Those of its fields that decide what is measured: parts of keys. Tolerances are not among them."""
    packs: ClassVar[bool] = False
    """Whether the rows that it reads are packed from evaluation text."""
    directories: ClassVar[tuple[str, ...]] = ()
    """Of the settings, those that name a directory: relative to the manifest there, absolute in a request."""

    def configuration(self) -> dict[str, Any]:
        """Return the settings alone: another tolerance measures nothing anew."""
        return self.model_dump(mode="json", include=set(self.settings.model_fields))

    def reads(self, context: int | None, text: float) -> tuple[Read, ...]:
        """Return the rows that it takes, of a model made for so many tokens and a text of so many, for planning."""
        return ()


class TextGate(Gate):
    """A gate over documents: on the plain text and, for a model with a chat template, on conversations as well."""

    every_domain: bool | None = None
    """Whether each domain of documents must be within the limits by itself, too; which one each is of, its row says under
    `domain`."""

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge both texts by as much confidence as this look may spend."""
        look = look_at(evidence.looks, evidence.available, confidence)
        yield from self.over(name, evidence.documents, look)
        if self.every_domain and evidence.documents:
            yield from worst_domain(name, evidence.documents, lambda part, own: self.over(part, own, look))
        for verdict in self.over(CHAT + name, evidence.chat, look) if evidence.chat else ():
            assert verdict.shown
            label = f"{verdict.shown.label}, through the chat template"
            yield verdict.model_copy(
                update={"shown": verdict.shown.model_copy(update={"label": label, "column": None})}
            )

    @abstractmethod
    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge documents; there may be none. Each limit must hold with the confidence of this look."""
