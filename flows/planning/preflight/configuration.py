"""What config.json says: that it is of a model for the task, which transformers carries, with numbers that can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from catalog.task import Task
from catalog.tasks import TASKS, tasks_for
from flows.planning.preflight.files import Subject
from flows.planning.preflight.installed import architectures, model_types
from quantizers.families.heads import half_of, task_of

Config = Mapping[str, Any]

_COUNTS = (
    *(
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "head_dim",
    ),
    *("vocab_size", "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "n_inner", "ffn_dim"),
    *("d_model", "num_experts_per_tok", "moe_intermediate_size", "word_embed_proj_dim"),
)
"""Keys whose value, when there is one and it is no list, is a positive whole number."""
_DTYPES = ("float32", "float16", "bfloat16")
_OTHER_DTYPES = ("float", "int", "uint", "bfloat", "complex", "double", "half", "bool")


@lru_cache(maxsize=1024)
def problem(subject: Subject) -> str | None:
    """Return what is wrong with a model's configuration, or None."""
    config = subject.config
    rules: list[Callable[[Config], str | None]] = [*_FIRST, partial(_does_the_task, task=TASKS[subject.task]), *_THEN]
    for rule in rules:
        if fault := rule(config):
            return f"{subject.where}: config.json {fault}"
    return None


def _typed(config: Config) -> str | None:
    if not isinstance(config.get("model_type"), str):
        return "names no model_type; a configuration of transformers does"
    return None


def _original(config: Config) -> str | None:
    if "quantization_config" not in config:
        return None
    return (
        "has a quantization_config: the model is quantized already, and quantizing it again measures against the wrong "
        "original; name the original"
    )


def _carried(config: Config) -> str | None:
    kind, types = config["model_type"], model_types()
    if types is None or kind in types:
        return None
    code = " (it brings code of its own, auto_map, which is never run)" if config.get("auto_map") else ""
    return (
        f"has model_type {kind!r}, which the transformers installed here has no architecture for{code}; name a model that "
        "it carries, or install a version that does"
    )


def _does_the_task(config: Config, task: Task) -> str | None:
    kind, classes = config["model_type"], architectures(task.mapping)
    if classes is None:
        return None
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return f"has architectures {named!r}, which is no list of names; transformers writes one"
    loaded, advice = classes.get(kind), _advice(named, kind, task)
    if loaded is None:
        shown = f", architecture {', '.join(named)}," if named else ""
        return f"has model_type {kind!r}{shown} which is no model for {task.words}; {advice}"
    if task.types and kind not in task.types:
        return (
            f"has model_type {kind!r}, and {task.words} is measured of {', '.join(task.types)} alone; name one of these"
        )
    lone = (architectures(task.lone_mapping) or {}) if task.lone_mapping else {}
    if half := half_of(named, (*loaded, *lone.get(kind, ()))):
        return f"{half}; {advice}"
    if not named or set(loaded).intersection(named) or any(name.endswith(task.heads) for name in named):
        return None
    return (
        f"has the architecture {', '.join(named)}: its head is for {task_of(named[0])}, not for {task.words}, and "
        f"weights of a {loaded[0]} are not there; {advice}"
    )


def _advice(named: list[str], kind: str, task: Task) -> str:
    """Name the task that an architecture's head is made for, if there is one."""
    able = tasks_for(named[0]) if named else ()
    other = next((each for each in able if kind in (architectures(TASKS[each].mapping) or (kind,))), None)
    said = f"say model.task {other}, or name" if other and other != task.name else "name"
    return f"{said} one that transformers loads with {task.stock}"


def _counted(config: Config) -> str | None:
    for key in _COUNTS:
        value = config.get(key)
        if value is None or isinstance(value, list):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            return f"says {key} is {value!r}, which has to be a positive whole number; fetch the model again"
    return None


def _divided(config: Config) -> str | None:
    """Heads share the hidden size, and queries the keys and values."""
    for whole, part in (("hidden_size", "num_attention_heads"), ("n_embd", "n_head")):
        if part in config and whole in config and not config.get("head_dim") and config[whole] % config[part]:
            return (
                f"says {part} is {config[part]}, which does not divide {whole} {config[whole]}; fetch the model again"
            )
    queries, keys = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if isinstance(queries, int) and isinstance(keys, int) and queries % keys:
        return f"says num_key_value_heads is {keys}, which does not divide num_attention_heads {queries}; fetch the model again"
    return None


def _computed(config: Config) -> str | None:
    for key in ("dtype", "torch_dtype"):
        named = config.get(key)
        if isinstance(named, str) and named.startswith(_OTHER_DTYPES) and named not in _DTYPES:
            return f"says {key} is {named}, and quantized models run in {', '.join(_DTYPES)}; name one of these there"
    return None


_FIRST: tuple[Callable[[Config], str | None], ...] = (_typed, _original, _carried)
_THEN: tuple[Callable[[Config], str | None], ...] = (_counted, _divided, _computed)
