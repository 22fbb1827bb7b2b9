"""Whose a repository is: what somebody put on main stays there, and a release of ours is replaced only when it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from publishers.errors import PublishError
from publishers.request import Subject
from publishers.stage import Staged, stage
from tests.publishers.loopback_hub import LoopbackHub
from tests.publishers.loopback_repository import File, Repository
from tests.publishers.test_hub import newer, publish

pytestmark = pytest.mark.usefixtures("without_waiting")

Tree = dict[str, File]


@pytest.fixture
def staged(subject: Subject, home: Path, tmp_path: Path) -> Staged:
    return stage(subject, tmp_path / "stage", home)


def tree_of(staged: Staged) -> Tree:
    return {path: File((staged.directory / path).read_bytes(), path.endswith(".safetensors")) for path in staged.files}


def text(content: str) -> File:
    return File(content.encode(), large=False)


def refused(staged: Staged, loopback: LoopbackHub, tree: Tree, tag: str | None = None) -> str:
    """Publish onto a main that holds `tree`; return why not, after making sure that nothing moved."""
    repository = loopback.create(staged.name)
    head = repository.add({**repository.commits[repository.head], **tree})
    if tag:
        repository.tags[tag] = head
    with pytest.raises(PublishError) as caught:
        publish(staged)
    assert repository.head == head and loopback.objects == {}
    assert repository.tags == ({tag: head} if tag else {})
    return str(caught.value)


FOREIGN: dict[str, Callable[[Tree], Tree]] = {
    "README.md": lambda ours: {"README.md": text("---\nlicense: mit\n---\n# Mine\n")},
    "thesis.txt": lambda ours: {"thesis.txt": text("years of work")},
    "quantmill.json": lambda ours: {"quantmill.json": text("{}")},
    "a.bin": lambda ours: {"a.bin": text("w"), "quantmill.json": text("{}")},
    "notes.md": lambda ours: {**ours, "notes.md": text("an owner's notes")},
    "config.json": lambda ours: {**ours, "config.json": text("{}")},
    "model.safetensors": lambda ours: {**ours, "model.safetensors": File(b"other weights", large=True)},
    "LICENSE": lambda ours: {path: file for path, file in ours.items() if path != "LICENSE"},
    "../outside": lambda ours: {**ours, "../outside": text("x")},
}


@pytest.mark.parametrize("named", FOREIGN)
def test_what_somebody_put_on_main_stays_there(
    named: str, staged: Staged, subject: Subject, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    theirs = FOREIGN[named](tree_of(newer(subject, home, tmp_path / "other")))
    assert f"did not publish there ({named}" in refused(staged, loopback, theirs)


@pytest.mark.parametrize("named", ["README.md", "quantmill.json", "notes.md", "model.safetensors"])
def test_a_tag_like_ours_makes_nothing_ours(
    named: str, staged: Staged, subject: Subject, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    theirs = FOREIGN[named](tree_of(newer(subject, home, tmp_path / "other")))
    assert f"did not publish there ({named}" in refused(staged, loopback, theirs, tag="v1")


def test_a_release_of_another_name_is_somebody_elses(
    staged: Staged, subject: Subject, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    other = stage(subject.model_copy(update={"name": "acme/other-int4"}), tmp_path / "other", home)
    assert "did not publish there" in refused(staged, loopback, tree_of(other))


def test_an_empty_repository_is_taken(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.create(staged.name)
    assert publish(staged).version == "v1"
    bare = loopback.repositories[staged.name] = Repository(private=True)
    bare.add({})
    assert publish(staged).version == "v1"


def test_a_release_that_a_killed_publisher_left_untagged_is_kept_as_a_version(
    staged: Staged, subject: Subject, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    repository = loopback.create(staged.name)
    left = repository.add({**repository.commits[repository.head], **tree_of(newer(subject, home, tmp_path / "other"))})
    published = publish(staged)
    assert repository.tags == {"v1": left, "v2": published.commit}
