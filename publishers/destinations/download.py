"""Fetch a release's files from the Hub, pinned to a commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import RepositoryNotFoundError

from publishers.destinations import protocol
from publishers.destinations.hub import connect
from publishers.errors import PublishError
from publishers.files import remove_tree
from publishers.progress import progress


@dataclass(frozen=True)
class Fetched:
    """A commit of a release, downloaded and not yet checked."""

    directory: Path
    version: str
    commit: str
    tree: dict[str, str]
    """Path → SHA-256, or git's SHA-1 for a regular file, as the Hub lists the commit."""


def download(name: str, version: str | None, directory: Path) -> Fetched:
    """Download `name` at `version`, or at the head of `main`, into the new `directory`.

    Raises:
        PublishError: the Hub has no such release or version, or wants another token.
        HubError: the Hub did not answer.
    """
    api = connect(write=False)
    try:
        api.repo_info(name)
    except RepositoryNotFoundError as error:
        raise PublishError(
            f"The Hub at {api.endpoint} holds no release called {name!r}, or shows it to nobody without a token: check the "
            "name, and export HF_TOKEN if it is private."
        ) from error
    versions = protocol.versions_of(api, name)
    commit = protocol.head_of(api, name) if version is None else versions.get(version)
    if commit is None:
        known = ", ".join(sorted(versions, key=lambda v: int(v[1:]))) or "none"
        raise PublishError(f"{name} has no version {version!r} on the Hub. It has {known}.")
    tree = protocol.tree_of(api, name, commit)
    progress(f"download {name}", 0, 1)
    protocol.patiently(
        api,
        f"download {name}",
        lambda: api.snapshot_download(name, revision=commit, local_dir=directory, ignore_patterns=".gitattributes"),
    )
    remove_tree(directory / ".cache")
    found = version or next((v for v, target in versions.items() if target == commit), commit)
    return Fetched(directory, found, commit, tree)
