"""How numbers, facts and templates become a card's Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from publishers.card.card_evidence import Estimate
from publishers.contents import NOTICES


def with_bounds(estimate: Estimate | float, style: str) -> str:
    """A measured quantity with its bounds in parentheses; a bare number alone."""
    if not isinstance(estimate, Estimate):
        return style.format(estimate)
    low, high = (style.format(bound) if bound is not None else "unbounded" for bound in (estimate.low, estimate.high))
    return f"{style.format(estimate.value)} ({low} to {high})"


def leaves(description: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield facts flat, by the names that lead to them; absent ones left out."""
    for key, value in description.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key} ")
        elif value is not None:
            yield f"{prefix}{key}", value


def megabytes(size: int) -> str:
    """A size in megabytes."""
    return f"{size / 1e6:,.2f} MB"


def cell(value: Any) -> str:
    """Text for one cell of a Markdown table."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def as_yaml(document: dict[str, Any]) -> str:
    """A document as YAML, in the order in which it was made."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100).strip()


def template(name: str) -> Template:
    """A template of this directory, with what all of them use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown; cells are escaped by the filter `cell`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(cell=cell, megabytes=megabytes)
    environment.tests["notice"] = lambda path: NOTICES.match(path) is not None
    return environment.get_template(name)
