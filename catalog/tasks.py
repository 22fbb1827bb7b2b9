"""What a model does: one row a task, with the stock class that loads it and what is measured of it.

Another task is another row, and a package that measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Task:
    """One task, by the name that the Hub knows it by: `pipeline_tag`."""

    name: str
    classes: Mapping[str, str]
    """Module of a client (`catalog.formats.Client`) → the class that its user types."""
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
    snippet: str
    """Python that loads and runs a release: `{imports}`, `{model}` and `{tokenizer}` are filled in."""


_TEXT_GENERATION = """\
{imports}

tokenizer = {tokenizer}
model = {model}
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "text-generation",
            classes={"transformers": "AutoModelForCausalLM", "optimum.intel": "OVModelForCausalLM"},
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
            snippet=_TEXT_GENERATION,
        ),
    )
}

if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]
