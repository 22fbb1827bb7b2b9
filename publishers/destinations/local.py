"""The local hub: `home/hub` in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from publishers.destinations.cache import Cache

if TYPE_CHECKING:
    from publishers.stage import Staged


class Local(Cache):
    """The hub of this store."""

    def __init__(self, path: str, home: Path, private: bool = True) -> None:
        super().__init__(home, "local", "in the local hub")

    def _url(self, staged: Staged) -> str:
        """Below the store: a store that is moved keeps its records true."""
        return str(Path(super()._url(staged)).relative_to(self.home))
