"""What the names of architectures tell of the task that their head is made for. Imports no torch."""

from __future__ import annotations

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
    "EncoderModel": "embeddings",
}


def task_of(architecture: str) -> str:
    """Return, in a reader's words, what an architecture is for that is no language model."""
    return next((task for end, task in _TASKS.items() if architecture.endswith(end)), "another task")
