"""Whether what a task reads rows with lies beside a model: a processor of files, and a tokenizer that is one, and its own."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from catalog.tasks import TASKS
from flows.planning.preflight.files import Subject

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_SENTENCEPIECE = ("tokenizer.model", "spiece.model")


@lru_cache(maxsize=1024)
def problem(subject: Subject) -> str | None:
    """Return what is wrong with tokenizer or processor of a model that is here, or None."""
    if subject.directory is None:
        return None
    names, task = {name for name, *_ in subject.state}, TASKS[subject.task]
    if task.processes and not names & set(PROCESSORS):
        return f"{subject.directory} holds no processor ({', '.join(PROCESSORS)}); save it beside the weights"
    if not task.tokenizes:
        return None
    if not names & set(TOKENIZERS):
        return f"{subject.directory} holds no tokenizer ({', '.join(TOKENIZERS)}); save it beside the weights"
    if "tokenizer.json" not in names:
        return _slow(subject, names)
    path = subject.directory / "tokenizer.json"
    tokenizer = _loaded(subject)
    if isinstance(tokenizer, str):
        return (
            f"{path} is no tokenizer ({tokenizer}); save it with the model's save_pretrained, or fetch the model again"
        )
    words, rows = tokenizer.get_vocab_size(with_added_tokens=False), subject.config.get("vocab_size")
    if not words:
        return f"{path} knows no token; save it with the model's save_pretrained, or fetch the model again"
    if isinstance(rows, int) and words > rows:
        return (
            f"{path} knows {words} tokens, and the model's vocab_size is {rows}: tokenizer and weights are of different "
            "models; fetch the model again"
        )
    return _template(subject, names)


def load(subject: Subject) -> Any | None:
    """Return the `tokenizers.Tokenizer` of a model, or None where it takes transformers to make one of its files."""
    if subject.directory is None or not (subject.directory / "tokenizer.json").is_file():
        return None
    tokenizer = _loaded(subject)
    return None if isinstance(tokenizer, str) else tokenizer


@lru_cache(maxsize=4)
def _loaded(subject: Subject) -> Any:
    from tokenizers import Tokenizer

    assert subject.directory
    try:
        return Tokenizer.from_file(str(subject.directory / "tokenizer.json"))
    except Exception as error:  # the library raises Exception itself
        return str(error)


def _slow(subject: Subject, names: set[str]) -> str | None:
    pieces = next((name for name in _SENTENCEPIECE if name in names), None)
    if pieces is None or (find_spec("sentencepiece") and find_spec("google.protobuf")):
        return None
    return (
        f"{subject.where}: its only tokenizer is {pieces}, and reading that takes the packages sentencepiece and protobuf, "
        "which are not both installed; install them, or save the tokenizer as tokenizer.json"
    )


def _template(subject: Subject, names: set[str]) -> str | None:
    from jinja2 import Environment, TemplateSyntaxError
    from jinja2.ext import loopcontrols

    assert subject.directory
    for name, template in _templates(subject, names):
        try:
            # `generation` is a tag of transformers, and marks what a template's loss is of.
            text = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
            Environment(extensions=[loopcontrols]).parse(text)
        except TemplateSyntaxError as error:
            return (
                f"{subject.directory / name} has a chat template that is no Jinja template (line {error.lineno}: "
                f"{error.message}); mend it, or remove it"
            )
    return None


def _templates(subject: Subject, names: set[str]) -> list[tuple[str, str]]:
    templates: list[tuple[str, str]] = []
    assert subject.directory
    if "chat_template.jinja" in names:
        templates.append(
            ("chat_template.jinja", (subject.directory / "chat_template.jinja").read_text("utf-8", "replace"))
        )
    if "tokenizer_config.json" in names:
        told: Any = json.loads((subject.directory / "tokenizer_config.json").read_bytes()).get("chat_template")
        rows = told if isinstance(told, list) else [{"template": told}]
        texts = [row.get("template") for row in rows if isinstance(row, dict)]
        templates += [("tokenizer_config.json", text) for text in texts if isinstance(text, str)]
    return templates
