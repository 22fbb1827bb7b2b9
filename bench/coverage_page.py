"""`docs/coverage.md`, written from `bench/results/coverage.json`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.milled import RECIPES, Row
from bench.tiny import KINDS

PAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
NAMES = {
    "rtn": "rounded to nearest",
    "compensated": "compensated rounding",
    "awq": "AWQ and compensated rounding",
    "openvino": "OpenVINO IR",
    "gguf": "GGUF",
}
"""What a recipe of the bench is called for a reader."""
MANY = 80
"""Types that are not listed one by one where one reason is given for all of them."""
_OUTCOMES = ("works", "refused", "broken")
_HEAD = """\
# Architectures

Written by `python -m bench.coverage`: every type of transformers {transformers} that is a causal, sequence-to-sequence, masked or
encoding model of text, made tiny with random weights, by five recipes. It *works* where the stock client reads the artifact and
its output is the original's to within 1 % (int8) or 20 % (nf4); it is *refused* where the mill says why, and gives no artifact;
anything else is *broken*. The first three recipes are in the first format that takes the type: int8 in compressed-tensors, nf4
in bitsandbytes, int8 in OpenVINO IR. OpenVINO IR is exported by optimum-intel {optimum}. A tiny model shows that an architecture
is understood, and nothing of quality: that is for the gates.
"""


def counted(rows: Mapping[str, Row], kind: str = "") -> dict[str, Counter[str]]:
    """Outcomes by recipe, of the types, of one kind or of all, that run."""
    counts = {name: Counter[str]() for name in RECIPES}
    for key, row in rows.items():
        for name, outcome in row.get("outcomes", {}).items() if key.startswith(kind) else ():
            counts[name][outcome["outcome"]] += 1
    return counts


def page(results: Mapping[str, Any]) -> str:
    """The page, Markdown."""
    rows: Mapping[str, Row] = results["types"]
    tools = results["tools"]
    head = _HEAD.format(transformers=tools["transformers"], optimum=tools["optimum-intel"])
    parts = (head, _counts(rows), _working(rows), _told(rows, "refused"), _told(rows, "broken"), _unmade(rows))
    return "\n".join(filter(None, parts))


def _counts(rows: Mapping[str, Row]) -> str:
    lines = [f"| | types | {' | '.join(NAMES[name] for name in RECIPES)} |", "|---" * (2 + len(RECIPES)) + "|"]
    for kind in KINDS:
        counts = counted(rows, f"{kind}/")
        cells = [" / ".join(str(counts[name][each]) for each in _OUTCOMES) for name in RECIPES]
        ran = sum(key.startswith(f"{kind}/") and "outcomes" in row for key, row in rows.items())
        shown = [cell if counts[name] else "" for name, cell in zip(RECIPES, cells, strict=True)]
        lines.append(f"| {kind} | {ran} | {' | '.join(shown)} |")
    return f"Types that work / are refused / are broken:\n\n{_lines(lines)}"


def _working(rows: Mapping[str, Row]) -> str:
    """The types that every recipe takes that is not made from another format, by the format that they are in."""
    lines = ["## What works\n", "Rounded to nearest and calibrated, both ways, in …\n"]
    for kind in KINDS:
        by_format: dict[str, list[str]] = defaultdict(list)
        for key, row in rows.items():
            first = [row.get("outcomes", {}).get(name, {}) for name in ("rtn", "compensated", "awq")]
            if key.startswith(f"{kind}/") and all(each.get("outcome") == "works" for each in first):
                by_format[" and ".join(dict.fromkeys(each["format"] for each in first))].append(key.split("/")[1])
        lines += [f"- {kind}, {format_}: {_listed(types)}" for format_, types in by_format.items()]
    return _lines(lines)


def _told(rows: Mapping[str, Row], outcome: str) -> str:
    """Reasons, with the recipes and types that each is given for."""
    told: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key, row in rows.items():
        kind, model_type = key.split("/")
        recipes: dict[str, list[str]] = defaultdict(list)
        for name, each in row.get("outcomes", {}).items():
            if each["outcome"] == outcome:
                recipes[_reason(each["why"])].append(NAMES[name])
        for why, names in recipes.items():
            told[why, ", ".join(names)][kind].append(model_type)
    lines = [f"- **{names}**: {_escaped(why)}\n  {_counted(by_kind)}" for (why, names), by_kind in told.items()]
    return _lines([f"## What is {outcome}\n", *lines]) if lines else ""


def _counted(by_kind: Mapping[str, list[str]]) -> str:
    """The types of each kind, or, of very many, how many there are."""
    if (count := sum(map(len, by_kind.values()))) > MANY:
        return f"{count} types."
    return "; ".join(f"{kind}: {_listed(types)}" for kind, types in by_kind.items())


_ADVICE = re.compile(r" ?(Use format|Name another|No format here|No recipe stores|A recipe without)[^.]*\.(?=\s|$)")
"""Sentences that say what to do, and not why."""


def _reason(why: str) -> str:
    """A reason without what differs between types that are refused alike: their names, modules and the advice."""
    text = re.sub(r"(model_type|this is) '?(?!is )[\w-]+'?(?=[ .:;]|$)", r"\1 …", why)
    text = re.sub(r"(of|exports) an? [\w-]+ (is|from|for)", r"\1 a … \2", text)
    text = re.sub(r"load .*? of a … from", "load linears of a … from", text)
    return _ADVICE.sub("", text)


def _unmade(rows: Mapping[str, Row]) -> str:
    unmade = [f"- {key}: {_escaped(row['unmade'][:160])}" for key, row in rows.items() if "unmade" in row]
    return _lines(["## What cannot be made tiny\n", *unmade]) if unmade else ""


def _escaped(text: str) -> str:
    return re.sub(r"([*_<|])", r"\\\1", text)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name.replace("_", r"\_") for name in names)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
