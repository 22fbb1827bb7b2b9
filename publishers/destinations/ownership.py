"""Whose a repository of the Hub is: only what is empty, or a release of ours of that name, is published into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi

from publishers.contents import PATH
from publishers.destinations.patience import patiently
from publishers.errors import PublishError
from publishers.files import is_listed_as, sha256_of
from publishers.provenance import PROVENANCE, Provenance, read_provenance

ATTRIBUTES = ".gitattributes"
"""The one file of a repository that the Hub itself puts there."""


def refuse_other_visibility(api: HfApi, name: str, private: bool) -> None:
    """Refuse a repository that strangers see where the manifest says private, or the reverse.

    A server that does not say which has one kind alone.

    Raises:
        PublishError: with what to do.
    """
    found = patiently(api, f"look at {name}", lambda: api.repo_info(name).private)
    if found is None or found == private:
        return
    is_, wanted = ("private", "public") if found else ("public", "private")
    raise PublishError(
        f"The repository {name} on the Hub is {is_}, and publish.private says that it is to be {wanted} (private, unless the "
        f"manifest says otherwise). Nothing was published. Write `private: {str(found).lower()}` below publish in the "
        f"manifest, or make the repository {wanted} in its settings on {api.endpoint}."
    )


def refuse_foreign(api: HfApi, name: str, head: str, tree: Mapping[str, str], tagged: bool) -> None:
    """Refuse a repository whose `main` holds anything that is kept nowhere else and that we did not publish.

    `tree` lists `head` (path → SHA-256, or git's SHA-1 of a regular file); `tagged` says whether a version points at it.
    Without one, as a publisher leaves it that was killed before its tag, every file must be the release's.

    Raises:
        PublishError: naming the files and what to do.
    """
    if tree.keys() <= {ATTRIBUTES}:
        return
    with TemporaryDirectory(prefix="quantmill-") as scratch:
        directory = Path(scratch)
        provenance = _provenance(api, name, head, tree, directory)
        if provenance is None:
            raise _foreign(name, sorted(tree.keys() - {ATTRIBUTES}))
        listed = {path: oid for path, oid in tree.items() if path not in (ATTRIBUTES, PROVENANCE)}
        wrong = {path for path in listed if not PATH.match(path)} | (listed.keys() ^ provenance.files.keys())
        for path in sorted(listed.keys() - wrong):
            sha256 = provenance.files[path].sha256
            if len(listed[path]) == 64 and listed[path] != sha256:
                wrong.add(path)
            elif len(listed[path]) != 64 and not tagged:
                found = _fetch(api, name, head, path, directory)
                if sha256_of(found) != sha256 or not is_listed_as(found, sha256, listed[path]):
                    wrong.add(path)
        if wrong:
            raise _foreign(name, sorted(wrong))


def _provenance(api: HfApi, name: str, head: str, tree: Mapping[str, str], directory: Path) -> Provenance | None:
    """The record of the release called `name`; None when there is none, or it is something else of that file name."""
    if PROVENANCE not in tree:
        return None
    _fetch(api, name, head, PROVENANCE, directory)
    try:
        provenance = read_provenance(directory)
    except PublishError:
        return None
    return provenance if provenance.name == name else None


def _fetch(api: HfApi, name: str, revision: str, path: str, directory: Path) -> Path:
    what = f"read {path} of {name}"
    return Path(patiently(api, what, lambda: api.hf_hub_download(name, path, revision=revision, local_dir=directory)))


def _foreign(name: str, paths: list[str]) -> PublishError:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return PublishError(
        f"The repository {name} on the Hub holds files that quantmill did not publish there ({', '.join(paths[:3])}{more}), "
        "and a release would replace what main shows. Nothing was changed. Publish under another namespace or target name; "
        "or, where the repository is yours, keep those files elsewhere and remove them from main."
    )
