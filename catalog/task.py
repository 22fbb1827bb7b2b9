"""What a task is: a row of `catalog.tasks`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from catalog.architectures import is_lone
from catalog.quantities import Quantity
from catalog.usages import Usage

Kind = Literal["text", "texts", "label", "labels", "audio", "image"]
KINDS: dict[Kind, str] = {
    "text": "string",
    "texts": "list of strings",
    "label": "string or number",
    "labels": "list of strings or numbers",
    "audio": "name of a sound file",
    "image": "name of an image file",
}
"""What one value of a row may be, for a person."""
FILES: tuple[Kind, ...] = ("audio", "image")
"""Kinds of values that stand for a file: its name, or what it holds (`flows.files.beside`)."""


@dataclass(frozen=True)
class Column:
    """One value of a row of evaluation, under a key of its own."""

    name: str
    required: bool = True
    kind: Kind = "text"
    named: bool = False
    """Whether it is read only where a manifest names its key, whatever keys rows have."""

    @property
    def is_file(self) -> bool:
        """Whether its values stand for files."""
        return self.kind in FILES

    @property
    def words(self) -> str:
        """What a value is, for a person."""
        return KINDS[self.kind]

    def fits(self, value: object) -> bool:
        """Whether a value is of the column's kind."""
        plain: tuple[type, ...] = (str, int, float) if self.kind.startswith("label") else (str,)
        if self.kind.endswith("s"):
            return isinstance(value, list) and all(isinstance(each, plain) for each in value)
        return isinstance(value, plain) and not isinstance(value, bool)


TEXT = Column("text")
IMAGE = Column("image", kind="image")
AUDIO = Column("audio", kind="audio")
DOMAIN = Column("domain", required=False, named=True)
"""What kind of text a row is, for gates that hold in every domain."""


@dataclass(frozen=True)
class Task:
    """One task, by the name that the Hub knows it by: `pipeline_tag`."""

    name: str
    clients: Mapping[str, Usage]
    """Module of a client (`catalog.format.Client`) → how its user does it; a client that is absent cannot."""
    builds: tuple[str, ...]
    """Auto classes of transformers that a model may be quantized as, in the order they are tried."""
    mapping: str
    """Table of transformers' `modeling_auto` that says which architecture a model type is loaded as."""
    heads: tuple[str, ...]
    """How names of architectures end that such a class builds, or whose body it is."""
    export: str
    """What optimum-intel's exporter calls it."""
    rows: str
    """What a row of evaluation is, in the plural: bounds are over these."""
    columns: tuple[Column, ...]
    """Its values. The first, unless it is a file, is what calibrated recipes read, if `reads` does not say otherwise."""
    gates: tuple[str, ...]
    """Kinds of gates that a manifest may ask (`gates.spec.KINDS`)."""
    defaults: tuple[str, ...]
    """Those that are judged unless a manifest says `null`."""
    numbers: tuple[str, ...]
    """Quantities of `gates.evidence.Summary` that have no bounds."""
    measures: tuple[str, ...]
    """Those that have; one that takes labels is absent where rows have none."""
    harm: str
    """The measure that says how far an artifact is from its original: 0 is the original itself, and less is better."""
    quantities: tuple[Quantity, ...]
    """What a card shows of them."""
    lead: str
    """What a card says first: `{tokens}` and the names of quantities are filled in."""
    sanity: tuple[str, ...]
    """Checks that every piece of evidence must hold, in the order they are made; an absent one counts as failed."""
    reads: tuple[Column, ...] = ()
    """Columns of the rows that calibrated recipes run a model on, the first a file; empty: they read text."""
    lone: Mapping[str, Usage] = field(default_factory=dict)
    """As `clients`, of an encoder without its decoder, where the classes of these load both."""
    lone_mapping: str | None = None
    """As `mapping`, of such encoders."""
    types: tuple[str, ...] = ()
    """Model types whose way of doing it is measured; empty: all that its classes load."""
    kept: tuple[str, ...] = ()
    """Patterns of names of linears that no recipe quantizes: its head."""
    unread: tuple[str, ...] = ()
    """Patterns of names of what a model may have and what has no part in it: OpenVINO IR leaves that out."""
    label: str | None = None
    """The column that says what is true, if rows need not have it; None: a row knows by itself, or nobody does."""
    libraries: tuple[str, ...] = ()
    """Distributions that decide its measures besides those of every step that runs a model."""
    packages: tuple[str, ...] = ()
    """What its user installs besides the packages of the format."""
    unlabelled: tuple[str, ...] = ()
    """Gates about what is true that rows without a label can be asked, too: what the original says for them is their label."""
    graphs: tuple[str, ...] = ("openvino_model",)
    """Names of the files of the OpenVINO graphs that it is exported as, without their endings: its own; or of an encoder and of a
    decoder; or of what makes vectors of images, of what makes vectors of tokens, and of the language model."""
    generates: bool = False
    """Whether it makes text, token by token."""
    logits: bool = False
    """Whether a model answers with a logit for every token it knows."""

    def used(self, architectures: Sequence[str] = ()) -> Mapping[str, Usage]:
        """Return module of a client → how its user does it with a model whose config.json names these architectures."""
        return self.lone if self.lone and is_lone(architectures) else self.clients

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.name.replace("-", " ")

    @property
    def tokenizes(self) -> bool:
        """Whether its models read or write text, and have a tokenizer."""
        return any(column.kind in ("text", "texts") for column in self.columns)

    @property
    def calibration(self) -> tuple[Column, ...]:
        """Columns of the rows that calibrated recipes read."""
        first = self.columns[0]
        return self.reads or ((TEXT,) if first.is_file else (first,))

    @property
    def processes(self) -> bool:
        """Whether its models read files, and have a processor that makes tensors of them."""
        return any(column.is_file for column in self.columns)

    @property
    def shown(self) -> tuple[str, ...]:
        """Quantities without which no card is written: those that every row gives."""
        return tuple(each.name for each in self.quantities if not each.labelled)

    @property
    def stock(self) -> str:
        """The class of transformers that its user types."""
        return self.clients["transformers"].stock
