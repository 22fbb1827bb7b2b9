"""What the names of architectures tell of the task that their head is made for. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from catalog.architectures import LONE, is_lone

_TASKS = {
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "classification of tokens",
    "ForImageClassification": "classification of images",
    "ForAudioClassification": "classification of sound",
    "ForQuestionAnswering": "finding answers in a text",
    "ForMultipleChoice": "multiple choice",
    "ForNextSentencePrediction": "telling which sentence comes next",
    "ForSpeechSeq2Seq": "speech",
    "ForConditionalGeneration": "turning one sequence into another",
    "ForVision2Seq": "describing images",
    "ForPreTraining": "several tasks at once, from pretraining",
    LONE: "embeddings",
}


def half_of(named: Sequence[str], loaded: Collection[str]) -> str | None:
    """Return what is wrong where a checkpoint holds the encoder of a model that is loaded with its decoder, or None.

    Args:
        named: the checkpoint's architectures.
        loaded: those that the task's stock class makes of its model type.
    """
    if not is_lone(named) or not set(named).isdisjoint(loaded):
        return None
    return (
        f"has the architecture {named[0]}, an encoder alone, which its stock class loads as a {sorted(loaded)[0]} with a decoder "
        "of random weights"
    )


def task_of(architecture: str) -> str:
    """Return, in a reader's words, what an architecture is for that is no language model."""
    return next((task for end, task in _TASKS.items() if architecture.endswith(end)), "another task")
