"""Turn a pydantic error into the paragraph a manifest's author reads."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flows.manifest.errors import ManifestError, choices, nearest
from flows.manifest.scalars import kind_of
from flows.manifest.yaml_source import Key, Source, dotted

_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def explain(source: Source, error: ValidationError, model: type[BaseModel], key: Key = ()) -> ManifestError:
    """Return the first fault in the order of the file. `model` was validated from the data written at `key`."""
    # A misspelt key is also a missing one, but only the first tells what to mend.
    errors = error.errors()
    unknown = [details for details in errors if details["type"] == "extra_forbidden"]
    return min((_one(source, details, model, key) for details in unknown or errors), key=lambda told: told.line or 0)


def _one(source: Source, details: ErrorDetails, model: type[BaseModel], key: Key) -> ManifestError:
    where = source.nearest_written((*key, *details["loc"]))
    kind, context = details["type"], details.get("ctx", {})
    value = source.written(where)
    if kind == "missing":
        return source.error(where, f"is missing; {_required(model, details['loc'][:-1])}")
    if kind == "extra_forbidden":
        parent, word = details["loc"][:-1], str(details["loc"][-1])
        allowed = fields(model, parent)
        elsewhere = _home(model, word)
        hint = f"; it belongs in {elsewhere}" if elsewhere and not nearest(word, allowed) else ""
        return source.error(where, "is not a key" + choices(allowed) + (hint or nearest(word, allowed)))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return source.error(where, f"is {_shown(value)}" + choices(allowed) + nearest(value, allowed))
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return source.error(where, f"is {_shown(value)}; allowed: {words} {context[bound]:g}")
    if kind in _WANTED:
        keys = fields(model, details["loc"])
        wanted = _WANTED[kind] + (f" of {', '.join(keys)}" if keys else "")
        actual = kind_of(value) if value is None else f"{kind_of(value)} ({_shown(value)})"
        return source.error(where, f"is {actual}; allowed: {wanted}{_remedy(kind, value, where)}")
    if kind in ("byte_size", "byte_size_unit"):
        return source.error(where, f"is {_shown(value)}; allowed: a number and its unit, such as 4GB or 3.5GiB")
    if kind in ("too_short", "string_too_short"):
        return source.error(where, "is empty; give at least one")
    if kind == "value_error":
        problem = str(context["error"])
        return source.error(_blamed(source, where, problem), problem)
    return source.error(where, f"is {_shown(value)}: {details['msg']}")


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _remedy(kind: str, value: Any, where: Key) -> str:
    """Return how to write what was probably meant."""
    if kind == "string_type" and isinstance(value, int | float):
        return f'; write "{str(value).lower() if isinstance(value, bool) else value}" in quotes'
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value == int(value):
        return f"; write {int(value)}"
    if kind in ("int_type", "float_type") and isinstance(value, str) and re.fullmatch(r"-?[0-9.]+", value):
        return f"; write {value} without quotes"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("yes", "no", "true", "false", "on", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'true', 'on') else 'false'}"
    if kind == "float_type" and where[:1] == ("gates",):
        return ", or a share such as 3%"
    return ""


def _blamed(source: Source, where: Key, problem: str) -> Key:
    """Return the key a rule over several fields is about: the first one its message names that is written."""
    written = source.written(where)
    for word in re.findall(r"\w+", problem) if isinstance(written, dict) else ():
        if word in written:
            return (*where, word)
    return where


def fields(model: type[BaseModel], key: Key) -> list[str]:
    """Return the keys allowed at `key` below `model`; none where any key is allowed."""
    annotation = _at(model, key)
    return list(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _required(model: type[BaseModel], key: Key) -> str:
    infos = _at(model, key).model_fields
    needed = ", ".join(name for name, info in infos.items() if info.is_required())
    return f"required here: {needed}; allowed besides: {', '.join(name for name in infos if name not in needed.split(', '))}"


def _at(annotation: Any, key: Key) -> Any:
    for part in key:
        annotation = _bare(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            info = annotation.model_fields.get(str(part))
            annotation = info.annotation if info else None
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            return None
    return _bare(annotation)


def _bare(annotation: Any) -> Any:
    """Strip `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        return _bare(options[0]) if len(options) == 1 else annotation
    return annotation


def _home(model: type[BaseModel], word: str) -> str | None:
    """Return where in the manifest a key belongs that is written in the wrong place."""
    return next((dotted(key) or "the top level" for key, name in _keys(model, ()) if name == word), None)


def _keys(model: type[BaseModel], key: Key) -> Iterator[tuple[Key, str]]:
    for name, info in model.model_fields.items():
        yield key, name
        below = _bare(info.annotation)
        if isinstance(below, type) and issubclass(below, BaseModel):
            yield from _keys(below, (*key, name))
