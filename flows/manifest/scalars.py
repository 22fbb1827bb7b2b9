"""What a word without quotes is: the YAML 1.2 core schema, less what YAML 1.1 reads as something else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Refused:
    """A word that two versions of YAML read differently, or that no setting can be."""

    problem: str


def _truth(word: str) -> Refused:
    value = "true" if word.lower() in ("yes", "on") else "false"
    return Refused(f'`{word}` is {value} to YAML 1.1 and text to YAML 1.2; write {value}, or "{word}" in quotes')


def _number(word: str) -> Refused:
    if len(word) > _DIGITS:
        return _int(word)  # type: ignore[return-value]
    try:
        old = yaml.safe_load(word)
        value = old if isinstance(old, int | float) else float(word)
        hint = f"write {int(value) if value == int(value) and abs(value) < 1e15 else value}"
    except (ValueError, OverflowError):
        hint = "write it in plain digits"
    return Refused(f'`{word}` is a number that YAML readers disagree on; {hint}, or "{word}" in quotes if it is text')


_DIGITS = 19


def _int(word: str) -> int | Refused:
    if len(word) <= _DIGITS:
        return int(word)
    return Refused(f"{word[:_DIGITS]}… has {len(word)} digits, which no setting needs")


# First match wins; a word that matches nothing is text.
_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"[a-zA-Z./][\w./-]{5,}", re.ASCII), str),  # most words, without trying the rest
    (re.compile(r""), lambda _: Refused("is empty; give a value, {} for the defaults of a section, or null for none")),
    (re.compile(r"~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"yes|no|on|off", re.IGNORECASE), _truth),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), _int),
    (re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)"), float),
    (re.compile(r"[-+]?(0o[0-7]+|0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)"), _number),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), _number),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"), _number),
    (re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE), lambda w: Refused(f"`{w}` is not a finite number")),
    (
        re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"),
        lambda w: Refused(f'`{w}` is a date to YAML 1.1; write "{w}" in quotes'),
    ),
)

_KINDS: dict[type, str] = {
    bool: "a truth value",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}


def plain(word: str) -> str | int | float | bool | Refused | None:
    """Return the value of a word without quotes."""
    for pattern, read in _PLAIN:
        if pattern.fullmatch(word):
            value: str | int | float | bool | Refused | None = read(word)
            return value
    return word


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    return _KINDS[type(value)]
