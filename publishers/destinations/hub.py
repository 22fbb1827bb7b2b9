"""The Hugging Face Hub, or any server that speaks its API at `HF_ENDPOINT`: the same release, one commit, one tag."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants

from catalog.tokens import hub_token
from publishers.contents import check_path
from publishers.destinations import protocol
from publishers.destinations.destination import Destination, Release
from publishers.destinations.ownership import refuse_foreign, refuse_namespace, refuse_other_visibility
from publishers.destinations.patience import DELAYS, patiently
from publishers.destinations.repository import ATTRIBUTES, Repository
from publishers.errors import PublishError
from publishers.files import is_listed_as, remove_tree
from publishers.progress import progress
from publishers.request import Place
from publishers.stage import Staged

STEPS = 4
MAX_FILES = 100
"""The Hub asks for at most 50 to 100 files per commit; more may outlast its time limit."""


class Hub(Destination):
    """Repositories of one server. Nothing is asked of it before it has to be."""

    def __init__(self, path: str, home: Path, private: bool = True) -> None:
        self.private, self.where = private, f"on the Hub at {endpoint()}"
        self._additions: dict[str, Sequence[CommitOperationAdd]] = {}

    @cached_property
    def reader(self) -> HfApi:
        """Client that reads; it needs no token."""
        return connect(write=False)

    @cached_property
    def writer(self) -> HfApi:
        """Client that writes."""
        return connect(write=True)

    def preflight(self, name: str, *, patient: bool = True) -> None:
        """Refuse a token that may not write, a repository that is somebody's, and one that others see than are to."""
        repository = Repository(self.writer, name, DELAYS if patient else ())
        if not repository.is_writable() and not repository.exists():
            refuse_namespace(repository)
            return
        refuse_other_visibility(repository, self.private)
        head = repository.head()
        kept = protocol.version_at(repository, head, repository.versions()) is not None
        refuse_foreign(repository, head, repository.tree(head), kept)

    def releases(self) -> list[Release]:
        """Every version of what the token's user released, by name."""
        who = patiently(self.writer, "ask whose token HF_TOKEN is", self.writer.whoami)
        models = self.writer.list_models
        model_infos = patiently(
            self.writer, "list releases", lambda: list(models(author=who["name"], filter="quantmill"))
        )
        return [release for name in sorted(model.id for model in model_infos) for release in self.versions(name)]

    def versions(self, name: str) -> list[Release]:
        """Tagged commits. After a rollback the head is none of them, and has the tree of one."""
        repository = Repository(self.reader, name)
        if not repository.exists():
            return []
        versions = repository.versions()
        current = protocol.version_at(repository, repository.head(), versions)
        return [
            Release(name=name, version=version, commit=commit, current=version == current, directory=None)
            for version, commit in versions.items()
        ]

    def near(self, name: str) -> str:
        """A repository that is private is no different from one that is not there."""
        return ", or it is shown to nobody without a token: check the name, and export HF_TOKEN if it is private."

    def stage(self, staged: Staged) -> None:
        """Create the repository when there is none, and upload what the server does not hold yet."""
        if len(staged.files) > MAX_FILES:
            raise PublishError(
                f"{staged.name} has {len(staged.files)} files, and one commit takes {MAX_FILES}: save the weights in "
                "fewer, larger shards."
            )
        repository = Repository(self.writer, staged.name)
        if not repository.is_writable():
            repository.create(self.private)
            refuse_other_visibility(repository, self.private)
        progress(f"upload {staged.name}", 1, STEPS)
        protocol.upload(repository, self._operations(staged))

    def promote(self, staged: Staged) -> Place:
        """Commit, compare, tag."""
        name, repository = staged.name, Repository(self.writer, staged.name)
        commit = protocol.commit(repository, staged, self._operations(staged))
        progress(f"check {name} on the Hub", 2, STEPS)
        protocol.confirm(repository, staged, commit)
        progress(f"tag {name}", 3, STEPS)
        version = protocol.tag(repository, commit)
        return Place(to="hub", version=version, commit=commit, url=f"{endpoint()}/{name}/tree/{version}")

    def fetch(self, release: Release, directory: Path) -> None:
        """Download the files of a commit, none of which may lead out of the directory."""
        repository = Repository(self.reader, release.name)
        tree = repository.tree(release.commit)
        for path in sorted(tree.keys() - {ATTRIBUTES}):
            check_path(path, None)  # which format it is says the record
        progress(f"download {release.name}", 0, 1)
        repository.download(release.commit, tree, directory)
        remove_tree(directory / ".cache")  # the client's notes on the download

    def read(self, release: Release, path: str) -> bytes:
        """Download one file."""
        return Repository(self.reader, release.name).read(path, release.commit)

    def differences(self, release: Release, directory: Path, files: Mapping[str, str]) -> list[str]:
        """The Hub lists a hash of every file, the provenance record's too."""
        tree = Repository(self.reader, release.name).tree(release.commit)
        return [
            f"{path} is not what the Hub lists at this commit."
            for path in sorted(tree.keys() - {ATTRIBUTES})
            if path not in files or not is_listed_as(directory / path, files[path], tree[path])
        ]

    def rollback(self, release: Release) -> None:
        """Commit the tree of an earlier version on top of `main`."""
        repository = Repository(self.writer, release.name)
        protocol.restore(repository, release.commit, f"{protocol.ROLLBACK}{release.version}")

    def damage(
        self, name: str, version: str, commit: str, files: Mapping[str, str], hashed: Callable[[Path], str]
    ) -> str:
        """Only questions over the network would tell, so it is taken for whole."""
        return ""

    def main_of(self, name: str) -> str | None:
        """Ask for the head."""
        return Repository(self.reader, name).head()

    def is_pinned(self, name: str) -> bool:
        """Ask for the title of the head."""
        return protocol.is_pinned(Repository(self.reader, name))

    def _operations(self, staged: Staged) -> Sequence[CommitOperationAdd]:
        """The same objects each time: they know what is uploaded."""
        made = [CommitOperationAdd(path, staged.directory / path) for path in sorted(staged.files)]
        return self._additions.setdefault(staged.commit, made)


def endpoint() -> str:
    """Address of the server."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def connect(*, write: bool) -> HfApi:
    """Client for `HF_ENDPOINT` with the token of `HF_TOKEN`; reading needs no token.

    Both come from the environment alone: a request, a record or a log never holds a token.

    Raises:
        PublishError: the environment says to stay offline, or names no token for writing.
        InputError: what it names as a token cannot be one.
    """
    if constants.HF_HUB_OFFLINE:
        raise PublishError(
            "The environment says HF_HUB_OFFLINE=1, so the Hub cannot be reached: unset it, or use the local hub alone."
        )
    token = hub_token()
    if write and not token:
        raise PublishError(
            "Publishing to the Hub needs a token with write access in the environment variable HF_TOKEN: create a "
            "fine-grained one for the namespace you publish to and export it where the run starts."
        )
    return HfApi(endpoint=endpoint(), token=token or False, library_name="quantmill")
