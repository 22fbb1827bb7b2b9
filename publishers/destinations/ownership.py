"""Whose a repository of the Hub is: only what is empty, or a release of ours of that name, is published into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from publishers.contents import PATH
from publishers.destinations.repository import ATTRIBUTES, Repository
from publishers.errors import PublishError
from publishers.files import is_listed_as, sha256_of
from publishers.provenance import PROVENANCE, Provenance, read_provenance


def refuse_other_visibility(repository: Repository, private: bool) -> None:
    """Refuse a repository that strangers see where the manifest says private, or the reverse.

    A server that does not say which has one kind alone.

    Raises:
        PublishError: with what to do.
    """
    name, is_private = repository.name, repository.private()
    if is_private is None or is_private == private:
        return
    is_, wanted = ("private", "public") if is_private else ("public", "private")
    raise PublishError(
        f"The repository {name} on the Hub is {is_}, and publish.private says that it is to be {wanted} (private, unless the "
        f"manifest says otherwise). Nothing was published. Write `private: {str(is_private).lower()}` below publish in the "
        f"manifest, or make the repository {wanted} in its settings on {repository.api.endpoint}."
    )


def refuse_foreign(repository: Repository, head: str, tree: Mapping[str, str], kept: bool) -> None:
    """Refuse a repository whose `main` holds anything that is kept nowhere else and that we did not publish.

    `tree` lists `head` (path → SHA-256, or git's SHA-1 of a regular file); `kept` says whether a version has the same.
    Without one, as a publisher leaves it that was killed before its tag, every file must be the release's.

    Raises:
        PublishError: naming the files and what to do.
    """
    if tree.keys() <= {ATTRIBUTES}:
        return
    name = repository.name
    with TemporaryDirectory(prefix="quantmill-") as scratch:
        directory = Path(scratch)
        provenance = _provenance(repository, head, tree, directory)
        if provenance is None:
            raise _foreign(name, sorted(tree.keys() - {ATTRIBUTES}))
        listed = {path: oid for path, oid in tree.items() if path not in (ATTRIBUTES, PROVENANCE)}
        wrong = {path for path in listed if not PATH.match(path)} | (listed.keys() ^ provenance.files.keys())
        for path in sorted(listed.keys() - wrong):
            sha256 = provenance.files[path].sha256
            if len(listed[path]) == 64 and listed[path] != sha256:
                wrong.add(path)
            elif len(listed[path]) != 64 and not kept:
                fetched = repository.fetch(path, head, directory)
                if sha256_of(fetched) != sha256 or not is_listed_as(fetched, sha256, listed[path]):
                    wrong.add(path)
        if wrong:
            raise _foreign(name, sorted(wrong))


def refuse_namespace(repository: Repository) -> None:
    """Refuse a namespace that is neither the token's user nor an organization of his, where the server says which are.

    Raises:
        PublishError: naming those that are.
    """
    try:
        who = repository.api.whoami(cache=True)
    except Exception:  # a server without users, a token that may not tell: whoever creates the repository will see
        return
    namespace = repository.name.split("/")[0]
    writable = [group["name"] for group in who.get("orgs", []) if group.get("roleInOrg") != "read"]
    known = [who["name"], *writable]
    if namespace.lower() not in [name.lower() for name in known]:
        raise PublishError(
            f"The token in HF_TOKEN is {known[0]}'s and can make no repository below {namespace}; below {', '.join(known)} it "
            "can. Change publish.namespace, or export the token of somebody who may."
        )


def _provenance(repository: Repository, head: str, tree: Mapping[str, str], directory: Path) -> Provenance | None:
    """The record of the release of that name; None when there is none, or it is something else of that file name."""
    if PROVENANCE not in tree:
        return None
    repository.fetch(PROVENANCE, head, directory)
    try:
        provenance = read_provenance(directory)
    except PublishError:
        return None
    return provenance if provenance.name == repository.name else None


def _foreign(name: str, paths: list[str]) -> PublishError:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return PublishError(
        f"The repository {name} on the Hub holds files that quantmill did not publish there ({', '.join(paths[:3])}{more}), "
        "and a release would replace what main shows. Nothing was changed. Publish under another namespace or target name; "
        "or, where the repository is yours, keep those files elsewhere and remove them from main, or put a version back with "
        f"`quantmill rollback {name}@VERSION --at hub`."
    )
