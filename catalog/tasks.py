"""What a model does: one row a task, with the stock class that loads it and what is measured of it.

Another task is another row, and a package that measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Usage:
    """How the user of one client does a task with a release."""

    stock: str
    """The class that they type."""
    snippet: str
    """Python that loads and runs a release. Filled in are `{where}`, arguments that name it: a name or a directory, and the
    version if it is pinned; `{runtime}`, further arguments of a model, which it was judged with; and `{directory}`, an
    expression for the directory it is in."""


@dataclass(frozen=True)
class Task:
    """One task, by the name that the Hub knows it by: `pipeline_tag`."""

    name: str
    clients: Mapping[str, Usage]
    """Module of a client (`catalog.formats.Client`) → how its user does it; a client that is absent cannot."""
    builds: tuple[str, ...]
    """Auto classes of transformers that a model may be quantized as, in the order they are tried."""
    heads: tuple[str, ...]
    """How names of architectures end that such a class builds, or whose body it is."""
    export: str
    """What optimum-intel's exporter calls it."""
    evidence: str
    """Package of gates that measures it: its `baseline` runs the original, its `compare` an artifact."""
    rows: str
    """What a row of evaluation is, in the plural: bounds are over these."""
    measures: tuple[str, ...]
    """Quantities of `gates.evidence.Summary` that have bounds."""
    sanity: tuple[str, ...]
    """Checks that every piece of evidence must hold, in the order they are made; an absent one counts as failed."""


_TRANSFORMERS = "from transformers import {stock}, AutoTokenizer\n"
_OPTIMUM_INTEL = "from optimum.intel import {stock}\nfrom transformers import AutoTokenizer\n"
_TEXT_GENERATION = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""


def _usage(stock: str, imports: str, body: str) -> Usage:
    return Usage(stock, (imports + body).format(stock=stock))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "text-generation",
            clients={
                "transformers": _usage("AutoModelForCausalLM", _TRANSFORMERS, _TEXT_GENERATION),
                "optimum.intel": _usage("OVModelForCausalLM", _OPTIMUM_INTEL, _TEXT_GENERATION),
            },
            builds=("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM"),
            heads=("ForCausalLM", "LMHeadModel", "WithLMHead", "ForMaskedLM", "Model"),
            export="text-generation-with-past",
            evidence="gates.evaluation",
            rows="documents",
            measures=("increase", "loss_change", "kld", "agreement", "flips"),
            sanity=(
                "files",
                "size",
                "config",
                "special-tokens",
                "chat-template",
                "tokenizer",
                "loads",
                "weights",
                "finite",
                "context",
                "generates",
            ),
        ),
    )
}

if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]
