"""What a model does: one row a task, with the stock class that loads it and what is measured of it.

How it is measured is code, in `gates.tasks.<name>`, with underscores for dashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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


Kind = Literal["text", "texts", "label", "labels"]
KINDS: dict[Kind, str] = {
    "text": "string",
    "texts": "list of strings",
    "label": "string or number",
    "labels": "list of strings or numbers",
}
"""What one value of a row may be, for a person."""


@dataclass(frozen=True)
class Column:
    """One value of a row of evaluation, under a key of its own."""

    name: str
    required: bool = True
    kind: Kind = "text"
    named: bool = False
    """Whether it is read only where a manifest names its key, whatever keys rows have."""

    def fits(self, value: object) -> bool:
        """Whether a value is of the column's kind."""
        plain: tuple[type, ...] = (str,) if self.kind.startswith("text") else (str, int, float)
        if self.kind.endswith("s"):
            return isinstance(value, list) and all(isinstance(each, plain) for each in value)
        return isinstance(value, plain) and not isinstance(value, bool)


TEXT = Column("text")
DOMAIN = Column("domain", required=False, named=True)
"""What kind of text a row is, for gates that hold in every domain."""


@dataclass(frozen=True)
class Quantity:
    """One row of a card's table of measurements: an estimate of the summary, and what it is of both models."""

    name: str
    """Of the estimate."""
    words: str
    """`{where}` is filled in where the same is measured in more than one way."""
    style: str
    """Format of the estimate."""
    original: str
    """Of the original: words, or the name in braces, with its format, of a number of the summary."""
    own: str = ""
    """Of the artifact; where it is empty, the estimate stands there, else it stands as the change."""
    labelled: bool = False
    """Whether it is absent where rows have no labels."""
    metric: tuple[str, str, str] | None = None
    """Of the Hub's results: type and name, and the number or estimate of the summary."""


@dataclass(frozen=True)
class Task:
    """One task, by the name that the Hub knows it by: `pipeline_tag`."""

    name: str
    clients: Mapping[str, Usage]
    """Module of a client (`catalog.formats.Client`) → how its user does it; a client that is absent cannot."""
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
    """Its values. The first is what calibrated recipes read."""
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
    kept: tuple[str, ...] = ()
    """Patterns of names of linears that no recipe quantizes: its head."""
    unread: tuple[str, ...] = ()
    """How names of modules begin that a model may have and that do not work for it: OpenVINO IR leaves them out."""
    label: str | None = None
    """The column that says what is true, if rows need not have it; None: a row knows by itself, or nobody does."""
    generates: bool = False
    """Whether it makes text, token by token."""
    logits: bool = False
    """Whether a model answers with a logit for every token it knows."""

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.name.replace("-", " ")

    @property
    def shown(self) -> tuple[str, ...]:
        """Quantities without which no card is written: those that every row gives."""
        return tuple(each.name for each in self.quantities if not each.labelled)

    @property
    def stock(self) -> str:
        """The class of transformers that its user types."""
        return self.clients["transformers"].stock


_LOADS = ("files", "size", "config", "special-tokens")
_RUNS = ("tokenizer", "loads", "weights", "finite")

_TRANSFORMERS = "from transformers import {stock}, AutoTokenizer\n"
_OPTIMUM_INTEL = "from optimum.intel import {stock}\nfrom transformers import AutoTokenizer\n"
_TEXT_GENERATION = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""
_LLAMA_CPP = """\
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path = {directory} + "/model.gguf"
server = xllamacpp.Server(settings)
answer = server.handle_completions({{"prompt": "The function returns", "max_tokens": 32, "temperature": 0}})
print(answer["choices"][0]["text"])
"""

# Texts of one length need no padding, so that a mean over tokens is one of the text alone.
_FEATURES = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
inputs = tokenizer("A mill grinds grain into flour.", return_tensors="pt")
states = model(**inputs).last_hidden_state
print(states[0].mean(0).tolist()[:8])
"""

_LOADED = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}})
"""
_CLASSIFIED = (
    _LOADED
    + """\
inputs = tokenizer("A mill grinds grain into flour.", return_tensors="pt")
logits = model(**inputs).logits[0]
print(model.config.id2label[int(logits.argmax())], logits.tolist())
"""
)
_FILLED = (
    _LOADED
    + """\
inputs = tokenizer(f"A mill grinds {{{{tokenizer.mask_token}}}} into flour.", return_tensors="pt")
place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
print(tokenizer.decode([int(model(**inputs).logits[0, place].argmax())]))
"""
)
_TAGGED = (
    _LOADED
    + """\
inputs = tokenizer("Anna lives beside the old mill.", return_tensors="pt")
labels = [model.config.id2label[int(each)] for each in model(**inputs).logits[0].argmax(-1)]
print(list(zip(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]), labels)))
"""
)
_ANSWERED = (
    _LOADED
    + """\
inputs = tokenizer("What does a mill grind?", "A mill grinds grain into flour.", return_tensors="pt")
outputs = model(**inputs)
start, end = int(outputs.start_logits[0].argmax()), int(outputs.end_logits[0].argmax())
print(tokenizer.decode(inputs["input_ids"][0][start : end + 1]))
"""
)


_LOADED = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}})
"""
_CLASSIFIED = (
    _LOADED
    + """\
inputs = tokenizer("A mill grinds grain into flour.", return_tensors="pt")
logits = model(**inputs).logits[0]
print(model.config.id2label[int(logits.argmax())], logits.tolist())
"""
)
_FILLED = (
    _LOADED
    + """\
inputs = tokenizer("A mill grinds " + tokenizer.mask_token + " into flour.", return_tensors="pt")
place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
print(tokenizer.decode([int(model(**inputs).logits[0, place].argmax())]))
"""
)
_TAGGED = (
    _LOADED
    + """\
inputs = tokenizer("Anna lives beside the old mill.", return_tensors="pt")
labels = [model.config.id2label[int(each)] for each in model(**inputs).logits[0].argmax(-1)]
print(list(zip(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]), labels)))
"""
)
_ANSWERED = (
    _LOADED
    + """\
inputs = tokenizer("What does a mill grind?", "A mill grinds grain into flour.", return_tensors="pt")
outputs = model(**inputs)
start, end = int(outputs.start_logits[0].argmax()), int(outputs.end_logits[0].argmax())
print(tokenizer.decode(inputs["input_ids"][0][start : end + 1]))
"""
)


def _usage(stock: str, imports: str, body: str) -> Usage:
    return Usage(stock, (imports + body).format(stock=stock))


def _clients(stock: str, body: str) -> dict[str, Usage]:
    """Both clients of torch's models and of OpenVINO IR, whose classes differ by their beginning."""
    return {
        "transformers": _usage(f"Auto{stock}", _TRANSFORMERS, body),
        "optimum.intel": _usage(f"OV{stock}", _OPTIMUM_INTEL, body),
    }


_HEADS = ("classifier*", "score", "qa_outputs", "pre_classifier", "cls.*", "lm_head*", "vocab_*", "generator_*")
"""Names of heads, and of what stands between them and the blocks."""


_DIVERGENCE = Quantity(
    "kld",
    "KL divergence from the original{where}, nats per token",
    "{:.5f}",
    original="0",
    metric=("kl_divergence", "KL divergence from the original (nats per token)", "kld"),
)
_AGREEMENT = Quantity(
    "agreement",
    "Same first choice as the original (top-1){where}",
    "{:.2%}",
    original="100%",
    metric=("top1_agreement", "Top-1 agreement with the original", "agreement"),
)
_FLIPS = Quantity("flips", "Choices that turned right or wrong{where}", "{:.2%}", original="0%")

_PERPLEXITY = Quantity(
    "increase",
    "Perplexity{where}",
    "{:+.2%}",
    original="{perplexity_original:.4f}",
    own="{perplexity:.4f}",
    metric=("perplexity", "Perplexity", "perplexity"),
)
_ROW_DIVERGENCE = replace(_DIVERGENCE, words="KL divergence from the original, nats per choice")
_ROW_AGREEMENT = replace(_AGREEMENT, words="Same choice as the original")
_ACCURACY = Quantity(
    "accuracy",
    "Accuracy",
    "{:.2%}",
    original="{accuracy_original:.2%}",
    labelled=True,
    metric=("accuracy", "Accuracy", "accuracy"),
)
_F1 = Quantity("f1", "F1", "{:.4f}", original="{f1_original:.4f}", labelled=True, metric=("f1", "F1", "f1"))
_SAME = Quantity("same", "Same answers as the original", "{:.2%}", original="100%")
_ORDERED = Quantity("ordered", "Pairs of rows in the original's order", "{:.2%}", original="100%", labelled=True)
_CHOICES = """\
On {tokens:,} held-out choices it takes the original's {agreement:.1%} of the time, and its distributions diverge
from the original's by {kld:.4f} nats."""

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "text-generation",
            clients={
                "transformers": _usage("AutoModelForCausalLM", _TRANSFORMERS, _TEXT_GENERATION),
                "xllamacpp": Usage("Server", _LLAMA_CPP),
                "optimum.intel": _usage("OVModelForCausalLM", _OPTIMUM_INTEL, _TEXT_GENERATION),
            },
            builds=("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM"),
            mapping="MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            heads=("ForCausalLM", "LMHeadModel", "WithLMHead", "ForMaskedLM", "Model"),
            export="text-generation-with-past",
            rows="documents",
            columns=(TEXT, DOMAIN),
            gates=("divergence", "perplexity", "agreement", "tail", "generation", "tasks", "size", "speed"),
            defaults=("divergence", "perplexity", "size"),
            numbers=("perplexity_original", "perplexity"),
            measures=("increase", "loss_change", "kld", "agreement", "flips"),
            harm="kld",
            quantities=(
                _PERPLEXITY,
                _DIVERGENCE,
                _AGREEMENT,
                _FLIPS,
            ),
            lead="""\
On {tokens:,} tokens of held-out text its perplexity differs from the original's by {increase:+.2%}, and both
choose the same next token {agreement:.1%} of the time.""",
            sanity=(*_LOADS, "chat-template", *_RUNS, "context", "generates"),
            generates=True,
            logits=True,
        ),
        Task(
            "feature-extraction",
            clients={
                "transformers": _usage("AutoModel", _TRANSFORMERS, _FEATURES),
                "optimum.intel": _usage("OVModelForFeatureExtraction", _OPTIMUM_INTEL, _FEATURES),
            },
            builds=("AutoModel",),
            mapping="MODEL_MAPPING_NAMES",
            heads=("Model",),
            export="feature-extraction",
            rows="rows",
            columns=(TEXT,),
            gates=("cosine", "neighbours", "similarity", "size"),
            defaults=("cosine", "neighbours", "size"),
            numbers=(),
            measures=("cosine", "distance", "overlap", "correlation"),
            harm="distance",
            quantities=(
                Quantity(
                    "cosine",
                    "Cosine to the original's embedding",
                    "{:.5f}",
                    original="1",
                    metric=("cosine", "Cosine to the original's embedding", "cosine"),
                ),
                Quantity(
                    "overlap",
                    "Ten nearest that stay so",
                    "{:.2%}",
                    original="100%",
                    metric=("neighbour_overlap", "Overlap of the ten nearest with the original's", "overlap"),
                ),
                Quantity("correlation", "Rank correlation of similarities with the original's", "{:.4f}", original="1"),
            ),
            lead="""\
On {tokens:,} held-out rows its embeddings have a cosine of {cosine:.4f} to the original's, and of the ten
nearest rows of a collection {overlap:.1%} stay the same.""",
            sanity=(*_LOADS, *_RUNS),
            unread=("pooler.",),
        ),
        Task(
            "text-classification",
            clients=_clients("ModelForSequenceClassification", _CLASSIFIED),
            builds=("AutoModelForSequenceClassification",),
            mapping="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
            heads=("ForSequenceClassification",),
            export="text-classification",
            rows="rows",
            columns=(TEXT, Column("pair", required=False), Column("label", required=False, kind="label")),
            gates=("divergence", "agreement", "accuracy", "ranking", "size"),
            defaults=("divergence", "agreement", "size"),
            numbers=(),
            measures=("kld", "agreement", "accuracy_original", "accuracy", "ordered"),
            harm="kld",
            quantities=(_ROW_DIVERGENCE, _ROW_AGREEMENT, _ACCURACY, _ORDERED),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            label="label",
        ),
        Task(
            "token-classification",
            clients=_clients("ModelForTokenClassification", _TAGGED),
            builds=("AutoModelForTokenClassification",),
            mapping="MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
            heads=("ForTokenClassification",),
            export="token-classification",
            rows="sentences",
            columns=(Column("words", kind="texts"), Column("labels", required=False, kind="labels")),
            gates=("divergence", "agreement", "accuracy", "f1", "size"),
            defaults=("divergence", "agreement", "size"),
            numbers=("f1_original", "f1"),
            measures=("kld", "agreement", "accuracy_original", "accuracy"),
            harm="kld",
            quantities=(_ROW_DIVERGENCE, _ROW_AGREEMENT, _ACCURACY, _F1),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            label="labels",
        ),
        Task(
            "question-answering",
            clients=_clients("ModelForQuestionAnswering", _ANSWERED),
            builds=("AutoModelForQuestionAnswering",),
            mapping="MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
            heads=("ForQuestionAnswering",),
            export="question-answering",
            rows="questions",
            columns=(Column("context"), Column("question"), Column("answers", required=False, kind="texts")),
            gates=("divergence", "agreement", "answers", "f1", "size"),
            defaults=("divergence", "answers", "size"),
            numbers=("same", "f1_original", "f1"),
            measures=("kld", "agreement"),
            harm="kld",
            quantities=(_ROW_DIVERGENCE, _ROW_AGREEMENT, _SAME, _F1),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            label="answers",
        ),
        Task(
            "fill-mask",
            clients=_clients("ModelForMaskedLM", _FILLED),
            builds=("AutoModelForMaskedLM",),
            mapping="MODEL_FOR_MASKED_LM_MAPPING_NAMES",
            heads=("ForMaskedLM",),
            export="fill-mask",
            rows="documents",
            columns=(TEXT,),
            gates=("divergence", "perplexity", "agreement", "accuracy", "tail", "size"),
            defaults=("divergence", "agreement", "size"),
            numbers=("perplexity_original", "perplexity"),
            measures=("increase", "loss_change", "kld", "agreement", "flips", "accuracy_original", "accuracy"),
            harm="kld",
            quantities=(_PERPLEXITY, _ROW_DIVERGENCE, _ROW_AGREEMENT, _ACCURACY),
            lead=_CHOICES,
            sanity=(*_LOADS, *_RUNS),
            kept=_HEADS,
            logits=True,
        ),
    )
}


def task_for(architecture: str) -> str | None:
    """Return the task that the head of an architecture is made for, by how its name ends."""
    ends = [(len(head), number, name) for number, (name, row) in enumerate(TASKS.items()) for head in row.heads]
    heads = [head for row in TASKS.values() for head in row.heads]
    fitting = [each for each, head in zip(ends, heads, strict=True) if architecture.endswith(head)]
    return max(fitting)[2] if fitting else None


if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]
