"""How a release reaches the Hub whole or not at all.

The commit is the only act that others see, so there is exactly one, guarded by its parent. A failure of it says nothing
of whether it was applied (a gateway may give up on a commit that the server completes), so every failure is followed by
a look at what is there: our tree is success, the old head a reason to try again, anything else a conflict for a person.
The tag comes last: it is the promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from publishers.destinations.ownership import ATTRIBUTES, refuse_foreign, refuse_other_visibility
from publishers.destinations.patience import Patience, explain, patiently, status_of
from publishers.errors import HubError, PublishError
from publishers.files import is_listed_as
from publishers.provenance import VERSION
from publishers.stage import Staged

MAX_FILES = 100
"""The Hub asks for at most 50 to 100 files per commit; more may outlast its time limit."""


def preflight(api: HfApi, name: str, private: bool) -> None:
    """Check that the token may write to `name` and strangers see what they are to see; create it when it is absent.

    Raises:
        PublishError: the token is refused, or the repository is public where it is to be private, or the reverse.
    """

    def may_write() -> bool:
        try:
            api.auth_check(name, write=True)
        except HfHubHTTPError as error:
            if status_of(error) in (401, 404):
                return False
            raise
        return True

    if not patiently(api, f"check that the token may write to {name}", may_write):
        patiently(api, f"create {name}", lambda: api.create_repo(name, private=private, exist_ok=True))
    refuse_other_visibility(api, name, private)


def commit(api: HfApi, staged: Staged) -> str:
    """Bring the head of `main` to the release's tree with one commit; return the commit that has it.

    Raises:
        PublishError: the repository holds somebody's files, or its head moved while we worked.
        HubError: it failed after the last attempt; `main` is then what it was, or our whole tree.
    """
    if len(staged.files) > MAX_FILES:
        raise PublishError(
            f"{staged.name} has {len(staged.files)} files, and one commit takes {MAX_FILES}: save the weights in fewer, "
            "larger shards."
        )
    parent = head_of(api, staged.name)
    tree = tree_of(api, staged.name, parent)
    if not differences(tree, staged):
        return parent
    tagged = parent in versions_of(api, staged.name).values()
    refuse_foreign(api, staged.name, parent, tree, tagged)
    if not tagged and tree.keys() - {ATTRIBUTES}:
        tag(api, staged.name, parent)  # of a publisher that was killed before it could: nothing released is lost
    patience = Patience(seconds=math.inf)  # an attempt may be hours of uploading
    while True:
        try:
            return _commit_once(api, staged, parent, tree)
        except Exception as error:
            head = head_of(api, staged.name)
            if not differences(tree_of(api, staged.name, head), staged):
                return head
            if head != parent:
                raise PublishError(
                    f"Somebody else committed {head[:12]} to {staged.name} on the Hub while {parent[:12]} was being "
                    "replaced, and this release did not land. Look at that commit, then run again to publish on top of it."
                ) from error
            if not patience.allows_another(error):
                raise explain(api, error, f"The commit to {staged.name} failed and its main is unchanged") from error


def confirm(api: HfApi, staged: Staged, revision: str) -> None:
    """Compare what the Hub lists at a commit with the release, file by file and hash by hash.

    Raises:
        HubError: they differ; the commit stays untagged.
    """
    wrong = differences(tree_of(api, staged.name, revision), staged)
    if wrong:
        raise HubError(
            f"The Hub lists other content than was sent at {staged.name}@{revision[:12]}: {', '.join(wrong)}. The commit "
            "carries no version, so nobody is promised it; publish again."
        )


def tag(api: HfApi, name: str, revision: str) -> str:
    """Give a commit the next version, unless it has one; return its version.

    Raises:
        HubError: the tag could not be made; the commit is whole, and publishing again tags it.
    """
    patience = Patience()
    while True:
        versions = versions_of(api, name)
        for version, target in versions.items():
            if target == revision:
                return version
        following = f"v{max((int(version[1:]) for version in versions), default=0) + 1}"
        try:
            api.create_tag(name, tag=following, revision=revision)
            return following
        except Exception as error:
            if not patience.allows_another(error):
                raise explain(api, error, f"{name}@{revision[:12]} is on the Hub but could not be tagged") from error


def head_of(api: HfApi, name: str) -> str:
    """Commit at the head of `main`."""
    sha = patiently(api, f"read the head of {name}", lambda: api.repo_info(name, revision="main").sha)
    if sha is None:
        raise HubError(f"The Hub names no commit for {name}@main: its answer is not that of a Hub; check HF_ENDPOINT.")
    return sha


def tree_of(api: HfApi, name: str, revision: str) -> dict[str, str]:
    """Path → SHA-256 of a large file, or git's SHA-1 of a regular one, at a commit."""

    def listing() -> dict[str, str]:
        entries = api.list_repo_tree(name, recursive=True, revision=revision)
        files = (entry for entry in entries if isinstance(entry, RepoFile))
        return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}

    return patiently(api, f"list the files of {name}", listing)


def versions_of(api: HfApi, name: str) -> dict[str, str]:
    """Version → commit."""
    refs = patiently(api, f"list the versions of {name}", lambda: api.list_repo_refs(name))
    return {ref.name: ref.target_commit for ref in refs.tags if VERSION.match(ref.name)}


def differences(tree: Mapping[str, str], staged: Staged) -> list[str]:
    """Paths that differ between a tree and the release; `.gitattributes` is the Hub's own."""
    found = tree.keys() - {ATTRIBUTES}
    changed = {
        path
        for path in staged.files.keys() & found
        if not is_listed_as(staged.directory / path, staged.files[path].sha256, tree[path])
    }
    return sorted(changed | (staged.files.keys() ^ found))


def _commit_once(api: HfApi, staged: Staged, parent: str, tree: Mapping[str, str]) -> str:
    """Upload what the Hub does not hold yet, then commit all of it at once. Uploads alone change nothing visible."""
    additions = [CommitOperationAdd(path, staged.directory / path) for path in sorted(staged.files)]
    stale = sorted(tree.keys() - staged.files.keys() - {ATTRIBUTES})
    api.preupload_lfs_files(staged.name, additions, free_memory=False)
    landed = api.create_commit(
        staged.name,
        [*additions, *(CommitOperationDelete(path) for path in stale)],
        commit_message=f"Release {staged.provenance.target} of {staged.provenance.source.name}",
        commit_description=f"Content {staged.commit}, job {staged.provenance.key}.",
        revision="main",
        parent_commit=parent,
    )
    return landed.oid
