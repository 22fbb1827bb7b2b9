"""What a model does: one row a task, with the stock class that loads it and what is measured of it.

How it is measured is code, in `gates.tasks.<name>`, with underscores for dashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from catalog import quantities, usages
from catalog.task import AUDIO, DOMAIN, IMAGE, TEXT, Column, Task

_LOADS = ("files", "size", "config", "special-tokens")
_RUNS = ("tokenizer", "loads", "weights", "finite")

_HEADS = ("classifier*", "score", "qa_outputs", "pre_classifier", "cls.*", "lm_head*", "vocab_*", "generator_*")
"""Names of heads, and of what stands between them and the blocks."""


_WRITES = """\
On {{tokens:,}} tokens of held-out {} its perplexity differs from the original's by {{increase:+.2%}}, and both
choose the same next token {{agreement:.1%}} of the time."""
_CHOICES = """\
On {tokens:,} held-out choices it takes the original's {agreement:.1%} of the time, and its distributions diverge
from the original's by {kld:.4f} nats."""

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "text-generation",
            clients={
                "transformers": usages.usage("AutoModelForCausalLM", usages.TRANSFORMERS, usages.TEXT_GENERATION),
                "xllamacpp": usages.Usage("Server", usages.LLAMA_CPP),
                "optimum.intel": usages.usage("OVModelForCausalLM", usages.OPTIMUM_INTEL, usages.TEXT_GENERATION),
                "intel_extension_for_transformers.transformers": usages.Usage("AutoModelForCausalLM", usages.ITREX),
                "peft": usages.usage("AutoPeftModelForCausalLM", usages.PEFT, usages.ADAPTED),
            },
            builds=("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM"),
            mapping="MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            heads=("ForCausalLM", "LMHeadModel", "WithLMHead", "ForMaskedLM", "Model"),
            export="text-generation-with-past",
            unread=("*.encoder_attn*",),
            rows="documents",
            columns=(TEXT, DOMAIN),
            gates=(
                *("divergence", "perplexity", "agreement", "tail", "generation", "text_similarity", "long_context"),
                *("tasks", "size", "overflow", "speed", "acceptance"),
            ),
            defaults=("divergence", "perplexity", "size"),
            numbers=("perplexity_original", "perplexity"),
            measures=("increase", "loss_change", "kld", "agreement", "flips"),
            harm="kld",
            quantities=quantities.WRITTEN,
            lead=_WRITES.format("text"),
            sanity=(*_LOADS, "chat-template", *_RUNS, "context", "generates"),
            generates=True,
            logits=True,
        ),
        Task(
            "text2text-generation",
            clients=usages.clients("ModelForSeq2SeqLM", usages.TURNED),
            builds=("AutoModelForSeq2SeqLM",),
            mapping="MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
            heads=("ForConditionalGeneration", "MTModel"),
            export="text2text-generation-with-past",
            rows="rows",
            columns=(Column("source"), Column("target", required=False)),
            gates=("divergence", "perplexity", "agreement", "answers", "chrf", "tail", "size", "overflow"),
            defaults=("divergence", "perplexity", "size"),
            numbers=("perplexity_original", "perplexity", "same", "chrf_original", "chrf"),
            measures=("increase", "loss_change", "kld", "agreement", "flips"),
            harm="kld",
            quantities=(*quantities.WRITTEN, quantities.SAME, quantities.CHRF),
            lead=_WRITES.format("targets"),
            sanity=(*_LOADS, *_RUNS, "generates"),
            label="target",
            unlabelled=("perplexity", "tail"),
            libraries=("sacrebleu",),
            graphs=("openvino_encoder_model", "openvino_decoder_model"),
            logits=True,
        ),
        Task(
            "automatic-speech-recognition",
            clients=usages.clients("ModelForSpeechSeq2Seq", usages.HEARD, usages.HEARING),
            builds=("AutoModelForSpeechSeq2Seq",),
            mapping="MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
            heads=("WhisperForConditionalGeneration",),
            types=("whisper",),
            export="automatic-speech-recognition-with-past",
            rows="sounds",
            columns=(AUDIO, Column("transcript", required=False)),
            reads=(AUDIO, Column("transcript")),
            gates=("divergence", "perplexity", "agreement", "answers", "wer", "tail", "size", "overflow"),
            defaults=("divergence", "perplexity", "size"),
            numbers=("perplexity_original", "perplexity", "same", "wer_original", "wer"),
            measures=("increase", "loss_change", "kld", "agreement", "flips"),
            harm="kld",
            quantities=(*quantities.WRITTEN, quantities.SAME, quantities.WER),
            lead=_WRITES.format("transcripts"),
            sanity=(*_LOADS, "processor", *_RUNS, "generates"),
            label="transcript",
            unlabelled=("perplexity", "tail"),
            libraries=("scipy",),
            graphs=("openvino_encoder_model", "openvino_decoder_model"),
            logits=True,
        ),
        Task(
            "feature-extraction",
            clients={
                "transformers": usages.usage("AutoModel", usages.TRANSFORMERS, usages.FEATURES),
                "optimum.intel": usages.usage("OVModelForFeatureExtraction", usages.OPTIMUM_INTEL, usages.FEATURES),
            },
            builds=("AutoModel", "AutoModelForTextEncoding"),
            mapping="MODEL_MAPPING_NAMES",
            # T5's and its kin's, which AutoModel loads with a decoder of random weights.
            lone={"transformers": usages.usage("AutoModelForTextEncoding", usages.TRANSFORMERS, usages.FEATURES)},
            lone_mapping="MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",
            heads=("Model",),
            export="feature-extraction",
            rows="rows",
            columns=(TEXT,),
            gates=("cosine", "neighbours", "similarity", "size", "overflow"),
            defaults=("cosine", "neighbours", "size"),
            numbers=(),
            measures=("cosine", "distance", "overlap", "correlation"),
            harm="distance",
            quantities=quantities.EMBEDDED,
            lead="""\
On {tokens:,} held-out rows its embeddings have a cosine of {cosine:.4f} to the original's, and of the ten
nearest rows of a collection {overlap:.1%} stay the same.""",
            sanity=(*_LOADS, *_RUNS),
            unread=("pooler", "pooler.*"),
        ),
        Task(
            "text-classification",
            clients=usages.clients("ModelForSequenceClassification", usages.CLASSIFIED),
            builds=("AutoModelForSequenceClassification",),
            mapping="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
            heads=("ForSequenceClassification",),
            export="text-classification",
            rows="rows",
            columns=(TEXT, Column("pair", required=False), Column("label", required=False, kind="label")),
            gates=("divergence", "agreement", "accuracy", "ranking", "size", "overflow"),
            defaults=("divergence", "agreement", "size"),
            numbers=(),
            measures=("kld", "agreement", "accuracy_original", "accuracy", "ordered"),
            harm="kld",
            quantities=(*quantities.CHOSEN, quantities.ORDERED),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            label="label",
        ),
        Task(
            "image-classification",
            clients={
                "transformers": usages.usage("AutoModelForImageClassification", usages.SEEN, usages.PICTURED),
                "optimum.intel": usages.usage(
                    "OVModelForImageClassification", usages.SEEN_BY_OPTIMUM_INTEL, usages.PICTURED_FROM_DIRECTORY
                ),
            },
            builds=("AutoModelForImageClassification",),
            mapping="MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
            heads=("ForImageClassification", "ForImageClassificationWithTeacher"),
            export="image-classification",
            rows="images",
            columns=(IMAGE, Column("label", required=False, kind="label")),
            reads=(IMAGE,),
            gates=("divergence", "agreement", "accuracy", "size", "overflow"),
            defaults=("divergence", "agreement", "size"),
            numbers=(),
            measures=("kld", "agreement", "accuracy_original", "accuracy"),
            harm="kld",
            quantities=quantities.CHOSEN,
            lead=_CHOICES,
            sanity=("files", "size", "config", "processor", "loads", "weights", "finite"),
            kept=(*_HEADS, "*_classifier"),
            label="label",
            libraries=("pillow",),
            packages=("pillow",),
        ),
        Task(
            "image-text-to-text",
            clients={
                "transformers": usages.usage("AutoModelForImageTextToText", usages.SEEN, usages.DESCRIBED),
                "optimum.intel": usages.usage(
                    "OVModelForVisualCausalLM", usages.SEEN_BY_OPTIMUM_INTEL, usages.DESCRIBED
                ),
            },
            builds=("AutoModelForImageTextToText",),
            mapping="MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
            heads=("ForConditionalGeneration",),
            export="image-text-to-text",
            rows="images",
            columns=(IMAGE, Column("prompt"), Column("answer", required=False)),
            gates=("divergence", "perplexity", "agreement", "answers", "tail", "size", "overflow"),
            defaults=("divergence", "perplexity", "size"),
            numbers=("perplexity_original", "perplexity", "same"),
            measures=("increase", "loss_change", "kld", "agreement", "flips"),
            harm="kld",
            quantities=(*quantities.WRITTEN, quantities.SAME),
            lead=_WRITES.format("answers"),
            sanity=(*_LOADS, "processor", *_RUNS, "generates"),
            kept=("*vision*", "*visual*", "*image*", "*projector*", "*connector*", "*aligner*", "*lm_head*"),
            label="answer",
            unlabelled=("perplexity", "tail"),
            libraries=("pillow",),
            packages=("pillow",),
            graphs=("openvino_vision_embeddings_model", "openvino_text_embeddings_model", "openvino_language_model"),
            logits=True,
        ),
        Task(
            "token-classification",
            clients=usages.clients("ModelForTokenClassification", usages.TAGGED),
            builds=("AutoModelForTokenClassification",),
            mapping="MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
            heads=("ForTokenClassification",),
            export="token-classification",
            rows="sentences",
            columns=(Column("words", kind="texts"), Column("labels", required=False, kind="labels")),
            gates=("divergence", "agreement", "accuracy", "f1", "size", "overflow"),
            defaults=("divergence", "agreement", "size"),
            numbers=("f1_original", "f1"),
            measures=("kld", "agreement", "accuracy_original", "accuracy"),
            harm="kld",
            quantities=(*quantities.CHOSEN, quantities.F1),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            label="labels",
        ),
        Task(
            "question-answering",
            clients=usages.clients("ModelForQuestionAnswering", usages.ANSWERED),
            builds=("AutoModelForQuestionAnswering",),
            mapping="MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
            heads=("ForQuestionAnswering",),
            export="question-answering",
            rows="questions",
            columns=(Column("context"), Column("question"), Column("answers", required=False, kind="texts")),
            gates=("divergence", "agreement", "answers", "f1", "size", "overflow"),
            defaults=("divergence", "answers", "size"),
            numbers=("same", "f1_original", "f1"),
            measures=("kld", "agreement"),
            harm="kld",
            quantities=(quantities.ROW_DIVERGENCE, quantities.ROW_AGREEMENT, quantities.SAME, quantities.F1),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            label="answers",
        ),
        Task(
            "fill-mask",
            clients=usages.clients("ModelForMaskedLM", usages.FILLED),
            builds=("AutoModelForMaskedLM",),
            mapping="MODEL_FOR_MASKED_LM_MAPPING_NAMES",
            heads=("ForMaskedLM",),
            export="fill-mask",
            unread=("*.contact_head.*", "*.pooler.*"),
            rows="documents",
            columns=(TEXT,),
            gates=("divergence", "perplexity", "agreement", "accuracy", "tail", "size", "overflow"),
            defaults=("divergence", "agreement", "size"),
            numbers=("perplexity_original", "perplexity"),
            measures=("increase", "loss_change", "kld", "agreement", "flips", "accuracy_original", "accuracy"),
            harm="kld",
            quantities=(quantities.PERPLEXITY, *quantities.CHOSEN),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            logits=True,
        ),
    )
}


def tasks_for(architecture: str) -> tuple[str, ...]:
    """Return the tasks that the head of an architecture may be made for, by how its name ends, the likeliest first.

    Some heads are called alike: which model types a task has tells them apart (`Task.mapping`).
    """
    heads = [(head, name) for name, row in TASKS.items() for head in row.heads if architecture.endswith(head)]
    # The longest says most; of two that are alike, a body without a head, the later row is the more special one.
    best = max((len(head) for head, _ in heads), default=0)
    return tuple(name for head, name in reversed(heads) if len(head) == best)


if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]
