"""A model card on the terminal."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.table import Table


class _FoldedTable(TableElement):
    """A table whose cells are broken into lines where they do not fit, instead of cut off."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw (Rich calls this)."""
        for part in super().__rich_console__(console, options):
            for column in part.columns if isinstance(part, Table) else ():
                column.overflow = "fold"
            yield part


class Card(Markdown):
    """Markdown that loses nothing on a narrow terminal."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "table_open": _FoldedTable}
