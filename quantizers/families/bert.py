"""BERT: a post-norm encoder.

The output of a norm is both the next linears' input and the residual, so no norm can absorb; the activation is GELU.
What remains is the value projection, for the attention's output projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.errors import QuantizeError
from quantizers.families.family import Family, Group, Stack

# architecture: (prefix of the encoder, head, modules with weights before the head)
HEADS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "BertModel": ("", "pooler", ()),
    "BertForMaskedLM": ("bert.", "cls.predictions.decoder", ("cls.predictions.transform",)),
    "BertForSequenceClassification": ("bert.", "classifier", ("bert.pooler",)),
    "BertForTokenClassification": ("bert.", "classifier", ()),
    "BertForQuestionAnswering": ("bert.", "qa_outputs", ()),
}


def bert(config: Mapping[str, Any]) -> Family:
    """Paths depend on the head, which config.json names under `architectures`."""
    architecture = str((config.get("architectures") or ["BertForMaskedLM"])[0])
    if architecture not in HEADS or config.get("add_cross_attention"):
        raise QuantizeError(
            f"config.json: {architecture} (of model type bert) has no family table; "
            f"known are {', '.join(sorted(HEADS))}, all without cross-attention."
        )
    prefix, head, before_head = HEADS[architecture]
    attention = "attention.self"
    groups = (
        Group((f"{attention}.query", f"{attention}.key", f"{attention}.value")),
        Group(("attention.output.dense",), f"{attention}.value", "linear"),
        Group(("intermediate.dense",)),
        Group(("output.dense",)),
    )
    return Family(
        model_type="bert",
        stacks=(Stack(f"{prefix}encoder.layer", groups, None),),
        embeddings=(f"{prefix}embeddings",),
        head=head,
        before_head=before_head,
    )


TABLES = {"bert": bert}
