"""One repository of the Hub, asked patiently."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from publishers.destinations.patience import DELAYS, PATIENCE_SECONDS, patiently, status_of
from publishers.errors import HubError
from publishers.provenance import VERSION

T = TypeVar("T")

ATTRIBUTES = ".gitattributes"
"""The one file of a repository that the Hub itself puts there."""


@dataclass(frozen=True)
class Repository:
    """What a server says of a repository. Every question raises PublishError for a refusal, HubError for its faults."""

    api: HfApi
    name: str
    delays: Sequence[float] = DELAYS
    """Seconds between attempts at one question."""

    def ask(self, what: str, call: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Call until it answers, or waiting cannot mend why it does not."""
        return patiently(self.api, what, call, delays=self.delays, seconds=seconds)

    def exists(self) -> bool:
        """Whether there is one, as far as this token may see."""

        def look() -> bool:
            try:
                self.api.repo_info(self.name)
            except RepositoryNotFoundError:
                return False
            return True

        return self.ask(f"find {self.name}", look)

    def is_writable(self) -> bool:
        """Whether the token may write to it; False where there is none. Raises PublishError when it may not."""

        def look() -> bool:
            try:
                self.api.auth_check(self.name, write=True)
            except RepositoryNotFoundError:
                return False
            except HfHubHTTPError as error:
                if status_of(error) == 404:  # a server without that page
                    return False
                raise
            return True

        return self.ask(f"check that the token may write to {self.name}", look)

    def create(self, private: bool) -> None:
        """Make it, unless it is there."""
        create = self.api.create_repo
        self.ask(f"create {self.name}", lambda: create(self.name, private=private, exist_ok=True))

    def private(self) -> bool | None:
        """Whether strangers cannot see it; None: the server does not say."""
        return self.ask(f"look at {self.name}", lambda: self.api.repo_info(self.name).private)

    def head(self) -> str:
        """Commit at the head of `main`."""
        sha = self.ask(f"read the head of {self.name}", lambda: self.api.repo_info(self.name, revision="main").sha)
        if sha is None:
            raise HubError(
                f"The Hub names no commit for {self.name}@main: its answer is not that of a Hub; check HF_ENDPOINT."
            )
        return sha

    def title(self) -> str:
        """First line of the message of the commit at the head of `main`."""
        commits = self.ask(f"read the commits of {self.name}", lambda: self.api.list_repo_commits(self.name))
        return commits[0].title

    def tree(self, revision: str) -> dict[str, str]:
        """Path → SHA-256 of a large file, or git's SHA-1 of a regular one, at a commit."""

        def look() -> dict[str, str]:
            entries = self.api.list_repo_tree(self.name, recursive=True, revision=revision)
            files = (entry for entry in entries if isinstance(entry, RepoFile))
            return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}

        return self.ask(f"list the files of {self.name}", look)

    def versions(self) -> dict[str, str]:
        """Version → commit, oldest first."""
        refs = self.ask(f"list the versions of {self.name}", lambda: self.api.list_repo_refs(self.name))
        versions = {ref.name: ref.target_commit for ref in refs.tags if VERSION.match(ref.name)}
        return dict(sorted(versions.items(), key=lambda item: int(item[0][1:])))

    def fetch(self, path: str, revision: str, directory: Path) -> Path:
        """Download one file into `directory`; return where it is."""
        get = self.api.hf_hub_download
        what = f"read {path} of {self.name}"
        return Path(self.ask(what, lambda: get(self.name, path, revision=revision, local_dir=directory)))

    def read(self, path: str, revision: str) -> bytes:
        """Read one small file."""
        with TemporaryDirectory(prefix="quantmill-") as scratch:
            return self.fetch(path, revision, Path(scratch)).read_bytes()

    def download(self, revision: str, tree: Mapping[str, str], directory: Path) -> None:
        """Download all files of a commit, which `tree` lists, into `directory`."""

        def get() -> None:
            self.api.snapshot_download(self.name, revision=revision, local_dir=directory, ignore_patterns=ATTRIBUTES)
            # Where the server does not answer, the client is content with what an earlier attempt left there.
            missing = [path for path in tree if path != ATTRIBUTES and not (directory / path).is_file()]
            if missing:
                raise HubError(f"The Hub did not send {', '.join(missing)} of {self.name}: run it again.")

        self.ask(f"download {self.name}", get, seconds=math.inf)
