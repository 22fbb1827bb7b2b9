"""Fetch a release's files from the Hub, pinned to a commit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from publishers.contents import check_path
from publishers.destinations import protocol
from publishers.destinations.hub import connect
from publishers.destinations.ownership import ATTRIBUTES
from publishers.destinations.patience import patiently
from publishers.errors import HubError, PublishError
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

    def is_there() -> bool:
        try:
            api.repo_info(name)
        except RepositoryNotFoundError:
            return False
        return True

    if not patiently(api, f"find {name}", is_there):
        raise PublishError(
            f"The Hub at {api.endpoint} holds no release called {name!r}, or shows it to nobody without a token: check the "
            "name, and export HF_TOKEN if it is private."
        )
    versions = protocol.versions_of(api, name)
    commit = protocol.head_of(api, name) if version is None else versions.get(version)
    found = version or next((v for v, target in versions.items() if target == commit), None)
    if found is None:
        raise PublishError(
            f"main of {name} on the Hub is at {str(commit)[:12]}, which no version points at: somebody changed it, or publishing "
            f"was cut short. Name a version, {name}@v1 say; it has {_known(versions)}."
        )
    if commit is None:
        raise PublishError(f"{name} has no version {version!r} on the Hub. It has {_known(versions)}.")
    tree = protocol.tree_of(api, name, commit)
    for path in sorted(tree.keys() - {ATTRIBUTES}):
        check_path(path, "openvino")  # which format it is says the record; this one is allowed most
    progress(f"download {name}", 0, 1)
    patiently(api, f"download {name}", lambda: _download(api, name, commit, tree, directory), seconds=math.inf)
    remove_tree(directory / ".cache")
    return Fetched(directory, found, commit, tree)


def _download(api: HfApi, name: str, commit: str, tree: Mapping[str, str], directory: Path) -> None:
    api.snapshot_download(name, revision=commit, local_dir=directory, ignore_patterns=ATTRIBUTES)
    # Where the server does not answer, the client is content with what an earlier attempt left there.
    missing = [path for path in tree if path != ATTRIBUTES and not (directory / path).is_file()]
    if missing:
        raise HubError(f"The Hub did not send {', '.join(missing)} of {name}: run it again.")


def _known(versions: Mapping[str, str]) -> str:
    return ", ".join(sorted(versions, key=lambda version: int(version[1:]))) or "none"
