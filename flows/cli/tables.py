"""Rows for a person: a table where the terminal is wide enough for it, a paragraph a row where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from catalog.sizes import in_words

STYLES = {
    "released": "green",
    "passed": "green",
    "failed": "red",
    "undecided": "yellow",
    "stale": "yellow",
    "left out": "yellow",
    "quarantined": "red",
    "step failed": "red",
}
"""Colours of the states of `flows.planning.plan`, and of what `flows.reports.outcomes` makes of them."""
_TEXT, _GAP = 16, 2
"""Characters that text needs at least to be read in a table, and those between columns."""

Job = TypeVar("Job")


def duration(seconds: float) -> str:
    """Return a duration for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass
class Rows:
    """Rows below named columns, drawn as wide as the terminal is. What a column's name begins with says what it holds.

    `>` numbers; `~` text that may be broken into lines; neither: names, which are never broken in a table.
    """

    columns: tuple[str, ...]
    title: str | None = None
    cells: list[tuple[Text, ...]] = field(default_factory=list)

    def add(self, *cells: str | Text) -> None:
        """Add a row, a cell for each column."""
        self.cells.append(tuple(Text(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw (Rich calls this)."""
        if self.title:
            yield Text(self.title, "italic", overflow="fold")
        widths = [self._least(number) for number in range(len(self.columns))]
        if sum(widths) + _GAP * len(widths) <= options.max_width:
            yield self._table(widths)
            return
        for row in self.cells:
            yield from self._paragraph(row)

    def _least(self, number: int) -> int:
        """Return how wide a column must be at least."""
        column = self.columns[number]
        longest = max([len(_bare(column)), *(row[number].cell_len for row in self.cells)])
        return min(longest, _TEXT) if column.startswith("~") else longest

    def _table(self, widths: list[int]) -> Table:
        table = Table(
            show_header=any(map(_bare, self.columns)),
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1),
            collapse_padding=True,
        )
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(
                _bare(column),
                justify="right" if column.startswith(">") else "left",
                overflow="fold",
                no_wrap=not column.startswith("~"),
                min_width=width,
            )
        for row in self.cells:
            table.add_row(*row)
        return table

    def _paragraph(self, row: tuple[Text, ...]) -> Iterator[RenderableType]:
        """Draw one row: its first cell, a line for its names, one for its numbers, and one for each text."""
        yield Text.assemble((row[0].plain, "bold"), overflow="fold")
        cells = list(zip(self.columns[1:], row[1:], strict=True))
        names = [_named(column, cell) for column, cell in cells if column[:1] not in (">", "~")]
        numbers = [_named(column, cell) for column, cell in cells if column.startswith(">")]
        texts = [[_named(column, cell)] for column, cell in cells if column.startswith("~")]
        for line in (names, numbers, *texts):
            if told := [part for part in line if part]:
                yield Padding(Text(", ").join(told), (0, 0, 0, 2))


def _named(column: str, cell: Text) -> Text | None:
    """Return a cell with its column's name before it; None: it is empty."""
    named = Text(overflow="fold")
    if _bare(column):
        named.append(f"{_bare(column)} ", "dim")
    return named.append(cell) if len(cell) else None


def _bare(column: str) -> str:
    return column.lstrip(">~")


def fits_a_screen(console: Console, rows: int) -> bool:
    """Return whether so many rows can be taken in at once."""
    return rows <= max(console.height - 8, 24)


def by_model(jobs: Iterable[Job], names: Callable[[Job], tuple[str, str]]) -> dict[str, list[Job]]:
    """Return jobs by what their releases have in common: namespace and model. `names`: a job's release and target."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        release, target = names(job)
        groups.setdefault(release.removesuffix(f"-{target}"), []).append(job)
    return groups


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested facts flat, by dotted name; the per-document rows of a record left aside."""
    if isinstance(value, dict):
        # What a gate shows are its numbers in words.
        items = [(key, item) for key, item in value.items() if key != "shown"]
        return {name: leaf for key, item in items for name, leaf in leaves(item, f"{prefix}{key}.").items()}
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        named = {str(item.get("name", n)): item for n, item in enumerate(value) if isinstance(item, dict)}
        return {} if prefix.endswith("documents.") else leaves(named, prefix)
    return {prefix.rstrip("."): value}


def facts(values: dict[str, Any]) -> Rows:
    """Return facts as rows of two columns, those of a group below its name."""
    made = Rows(("", "~"))
    for name, value in values.items():
        if isinstance(value, dict):
            made.add(Text(_plain(name), "bold"), "")
            for inner, leaf in value.items():
                made.add(f"  {inner if name == 'versions' else _plain(inner)}", _shown(inner, leaf))
        else:
            made.add(Text(_plain(name), "bold"), _shown(name, value))
    return made


def _plain(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def _shown(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return in_words(value)
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)) or "none"
