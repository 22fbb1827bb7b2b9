"""Progress bars of a run, one a step, that name what is happening."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from flows.cli.console import NOT_OK, OK
from flows.execution.progress import watched_by


class Bars:
    """A watcher that draws: a bar for the step under way, a line for each that ended."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def started(self, label: str) -> None:
        """Draw a bar."""
        self._bars[label] = self._progress.add_task(label, total=None, what="starting")

    def moved(self, label: str, what: str, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._bars[label], what=what, completed=done, total=total or None)

    def ended(self, label: str, note: str, *, ok: bool) -> None:
        """Replace the bar by a line."""
        self._progress.remove_task(self._bars.pop(label))
        self._progress.console.print(Text.assemble(OK if ok else NOT_OK, " ", label, "  ", (note, "dim")))

    def waiting(self, holder: str) -> None:
        """Add a line."""
        self._progress.console.print(Text("…", "yellow"), f"waiting for {holder}", soft_wrap=True)


@contextmanager
def bars(console: Console) -> Iterator[None]:
    """Show every step of this process on a terminal, or as plain lines where there is none."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[what]}", style="dim", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress, watched_by(Bars(progress)):
        yield
