"""A directory, such as a mounted share, that is a hub for others: the layout of the local hub, at a path of its choice.

Whoever sees it reads releases from it with HF_HOME set to it, from any machine. Several may publish into it at once: they
take turns by a lock of the file system, which a share passes on to its server.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from tempfile import TemporaryDirectory

from publishers.destinations.cache import Cache
from publishers.errors import DestinationFault
from publishers.files import sync_directory, write_new


class Directory(Cache):
    """Releases below `PATH/hub`. The directory itself is made by a person: an absent one is a share that is not mounted."""

    def __init__(self, path: str, home: Path, private: bool = True) -> None:
        super().__init__(Path(path), f"directory:{path}", f"in the directory {path}")
        self._tried = False

    def preflight(self, name: str, *, patient: bool = True) -> None:
        """Refuse, too, a directory that is not there or lacks what makes a release appear whole or not at all."""
        if not self._tried:
            self._try()
            self._tried = True
        super().preflight(name)

    def _try(self) -> None:
        if not self.home.is_dir():
            raise DestinationFault(
                f"publish.to names the directory {self.home}, which does not exist: mount the share, or create it."
            )
        try:
            with TemporaryDirectory(dir=self.home, prefix=".quantmill-") as scratch:
                _exercise(Path(scratch))
        except OSError as error:
            raise DestinationFault(
                f"The directory {self.home} cannot take releases ({error.strerror or error}): a release takes files that are "
                "written, linked (hard and symbolic), locked and renamed. Make it writable, or name one on another file system."
            ) from error


def _exercise(scratch: Path) -> None:
    """Do once what publishing does. Raises OSError for what the file system does not do."""
    write_new(scratch / "file", b"")
    write_new(scratch / "newer", b"")
    (scratch / "hard").hardlink_to(scratch / "file")
    (scratch / "symbolic").symlink_to("file")
    (scratch / "newer").replace(scratch / "file")
    with (scratch / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    sync_directory(scratch)
