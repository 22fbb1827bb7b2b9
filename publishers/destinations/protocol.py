"""How a release reaches the Hub whole or not at all.

The commit is the only act that others see, so there is exactly one, guarded by its parent. A failure of it says nothing
of whether it was applied (a gateway may give up on a commit that the server completes), so every failure is followed by
a look at what is there: our tree is success, the old head a reason to try again, anything else a conflict for a person.
The tag comes last: it is the promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

from publishers.destinations.ownership import refuse_foreign
from publishers.destinations.patience import Patience, explain
from publishers.destinations.repository import ATTRIBUTES, Repository
from publishers.errors import HubError, PublishError
from publishers.files import is_listed_as
from publishers.stage import Staged

ROLLBACK = "Roll back to "
"""What the title of a commit begins with that puts an earlier version back for good."""


def upload(repository: Repository, additions: Sequence[CommitOperationAdd]) -> None:
    """Upload what the Hub does not hold yet. That alone changes nothing visible."""
    send = repository.api.preupload_lfs_files
    what = f"upload the files of {repository.name}"
    repository.ask(what, lambda: send(repository.name, additions, free_memory=False), seconds=math.inf)


def commit(repository: Repository, staged: Staged, additions: Sequence[CommitOperationAdd]) -> str:
    """Bring the head of `main` to the release's tree with one commit, unless a version has it; return the commit that has.

    Raises:
        PublishError: the repository holds somebody's files, or its head moved while we worked.
        HubError: it failed after the last attempt; `main` is then what it was, or our whole tree.
    """
    parent = repository.head()
    tree = repository.tree(parent)
    versions = repository.versions()
    at = version_at(repository, parent, versions)
    if not differences(tree, staged):
        return versions[at] if at else parent
    refuse_foreign(repository, parent, tree, kept=at is not None)
    if not at and tree.keys() - {ATTRIBUTES}:
        tag(repository, parent)  # of a publisher that was killed before it could: nothing released is lost
    for version, released in reversed(list(versions.items())):
        if not differences(repository.tree(released), staged):
            if not is_pinned(repository):
                restore(repository, released, f"Release {version} again")
            return released
    stale = sorted(tree.keys() - staged.files.keys() - {ATTRIBUTES})

    def attempt() -> str:
        return repository.api.create_commit(
            repository.name,
            [*additions, *map(CommitOperationDelete, stale)],
            commit_message=f"Release {staged.provenance.target} of {staged.provenance.source.name}",
            commit_description=f"Content {staged.commit}, job {staged.provenance.key}.",
            revision="main",
            parent_commit=parent,
        ).oid

    return _land(repository, parent, attempt, lambda head_tree: not differences(head_tree, staged))


def restore(repository: Repository, revision: str, message: str) -> None:
    """Bring the head of `main` back to the tree of a version, with one commit on top; no version moves.

    Raises:
        PublishError: somebody else committed meanwhile, or the token does not suffice.
        HubError: it failed after the last attempt; `main` is then what it was, or the whole version.
    """
    parent = repository.head()
    tree, wanted = repository.tree(parent), repository.tree(revision)
    if same(tree, wanted):
        return
    copies = [CommitOperationCopy(path, path, src_revision=revision) for path in sorted(wanted.keys() - {ATTRIBUTES})]
    stale = sorted(tree.keys() - wanted.keys() - {ATTRIBUTES})

    def attempt() -> str:
        return repository.api.create_commit(
            repository.name,
            [*copies, *map(CommitOperationDelete, stale)],
            commit_message=message,
            revision="main",
            parent_commit=parent,
        ).oid

    _land(repository, parent, attempt, lambda head_tree: same(head_tree, wanted))


def is_pinned(repository: Repository) -> bool:
    """Whether the head of `main` is a rollback."""
    return repository.title().startswith(ROLLBACK)


def confirm(repository: Repository, staged: Staged, revision: str) -> None:
    """Compare what the Hub lists at a commit with the release, file by file and hash by hash.

    Raises:
        HubError: they differ; the commit stays untagged.
    """
    wrong = differences(repository.tree(revision), staged)
    if wrong:
        raise HubError(
            f"The Hub lists other content than was sent at {staged.name}@{revision[:12]}: {', '.join(wrong)}. The commit "
            "carries no version, so nobody is promised it; publish again."
        )


def tag(repository: Repository, revision: str) -> str:
    """Give a commit the next version, unless it has one; return its version.

    Raises:
        HubError: the tag could not be made; the commit is whole, and publishing again tags it.
    """
    name, patience = repository.name, Patience()
    while True:
        versions = repository.versions()
        for version, target in versions.items():
            if target == revision:
                return version
        following = f"v{max((int(version[1:]) for version in versions), default=0) + 1}"
        try:
            repository.api.create_tag(name, tag=following, revision=revision)
            return following
        except Exception as error:
            if not patience.allows_another(error):
                what = f"{name}@{revision[:12]} is on the Hub but could not be tagged"
                raise explain(repository.api, error, what) from error


def version_at(repository: Repository, head: str, versions: Mapping[str, str]) -> str | None:
    """Version that a head is, tagged with it or rolled back to it; None: no version has its tree."""
    for version, commit in versions.items():
        if commit == head:
            return version
    tree = repository.tree(head) if versions else {}
    newest_first = reversed(list(versions.items()))
    return next((version for version, commit in newest_first if same(tree, repository.tree(commit))), None)


def differences(tree: Mapping[str, str], staged: Staged) -> list[str]:
    """Paths that differ between a tree and the release; `.gitattributes` is the Hub's own."""
    paths = tree.keys() - {ATTRIBUTES}
    changed = {
        path
        for path in staged.files.keys() & paths
        if not is_listed_as(staged.directory / path, staged.files[path].sha256, tree[path])
    }
    return sorted(changed | (staged.files.keys() ^ paths))


def same(tree: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two trees hold the same files; `.gitattributes` is the Hub's own."""
    return {**tree, ATTRIBUTES: ""} == {**other, ATTRIBUTES: ""}


def _land(
    repository: Repository, parent: str, attempt: Callable[[], str], landed: Callable[[Mapping[str, str]], bool]
) -> str:
    """Commit on top of `parent`, looking after every failure at what became of it; return the commit."""
    name, patience = repository.name, Patience(seconds=math.inf)  # an attempt may be hours of uploading
    while True:
        try:
            return attempt()
        except Exception as error:
            head = repository.head()
            if landed(repository.tree(head)):
                return head
            if head != parent:
                raise PublishError(
                    f"Somebody else committed {head[:12]} to {name} on the Hub while {parent[:12]} was being "
                    "replaced, and this release did not land. Look at that commit, then run again to publish on top of it."
                ) from error
            if not patience.allows_another(error):
                what = f"The commit to {name} failed and its main is unchanged"
                raise explain(repository.api, error, what) from error
