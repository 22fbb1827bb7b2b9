"""The Hub: one commit, one tag, whatever the server does, with the real client against a loopback Hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from publishers.destinations import patience
from publishers.destinations.hub import Hub
from publishers.errors import HubError, PublishError
from publishers.pull import pull
from publishers.request import Place, Subject
from publishers.stage import Staged, stage
from publishers.verify import verify
from tests.publishers.conftest import hashes
from tests.publishers.loopback_hub import DROPPED, Answer, LoopbackHub
from tests.publishers.loopback_repository import File

pytestmark = pytest.mark.usefixtures("without_waiting")


@pytest.fixture
def staged(subject: Subject, home: Path, tmp_path: Path) -> Staged:
    return stage(subject, tmp_path / "stage", home)


def publish(staged: Staged, private: bool = True) -> Place:
    destination = Hub("", Path(), private)
    destination.preflight(staged.name)
    return destination.publish(staged)


def newer(subject: Subject, home: Path, directory: Path, group_size: int = 32) -> Staged:
    return stage(subject.model_copy(update={"recipe": {**subject.recipe, "group_size": group_size}}), directory, home)


def once(part: str, answer: Answer, method: str = "POST") -> Callable[[str, str], Answer | None]:
    """A fault that happens on the first request to a path."""
    left: Iterator[Answer] = iter([answer])

    def fault(verb: str, path: str) -> Answer | None:
        return next(left, None) if verb == method and part in path else None

    return fault


def always(part: str, answer: Answer, method: str = "POST") -> Callable[[str, str], Answer | None]:
    return lambda verb, path: answer if verb == method and part in path else None


def test_one_private_commit_tagged_last(staged: Staged, loopback: LoopbackHub) -> None:
    published = publish(staged)
    repository = loopback.repositories[staged.name]
    assert repository.private
    assert len(repository.history) == 2 and loopback.count("POST", "/commit/main") == 1
    assert repository.tags == {"v1": published.commit} and published.commit == repository.head
    assert (published.version, published.url) == ("v1", f"{loopback.url}/{staged.name}/tree/v1")
    assert {path: file.content for path, file in repository.commits[repository.head].items() if path[0] != "."} == {
        path: (staged.directory / path).read_bytes() for path in staged.files
    }
    posts = [path for method, path in loopback.requests if method == "POST"]
    assert "/tag/" in posts[-1]


def test_public_only_when_asked(staged: Staged, loopback: LoopbackHub) -> None:
    publish(staged, private=False)
    assert not loopback.repositories[staged.name].private


@pytest.mark.parametrize("private", [True, False])
def test_another_visibility_is_refused_before_anything_is_uploaded(
    staged: Staged, loopback: LoopbackHub, private: bool
) -> None:
    repository = loopback.create(staged.name, private=not private)
    words = ("is public", "be private", "private: false") if private else ("is private", "be public", "private: true")
    with pytest.raises(PublishError, match=".*".join(words)):
        publish(staged, private=private)
    assert len(repository.history) == 1 and loopback.objects == {} and repository.private is not private


def test_same_content_changes_nothing(staged: Staged, loopback: LoopbackHub) -> None:
    first = publish(staged)
    assert publish(staged) == first
    assert loopback.count("POST", "/commit/main") == 1 and loopback.count("POST", "/tag/") == 1


def test_next_version_replaces_the_tree(
    staged: Staged, subject: Subject, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    first = publish(staged)
    (subject.source.directory / "NOTICE.txt").rename(tmp_path / "NOTICE.txt")
    try:
        second = publish(newer(subject, home, tmp_path / "newer"))
    finally:
        (tmp_path / "NOTICE.txt").rename(subject.source.directory / "NOTICE.txt")
    repository = loopback.repositories[staged.name]
    assert repository.tags == {"v1": first.commit, "v2": second.commit}
    assert "NOTICE.txt" in repository.commits[first.commit]
    assert "NOTICE.txt" not in repository.commits[second.commit]
    assert ".gitattributes" in repository.commits[second.commit]


def test_pulled_by_name_and_checked(staged: Staged, loopback: LoopbackHub, home: Path, tmp_path: Path) -> None:
    published = publish(staged)
    for version, name in ((None, "latest"), ("v1", "pinned")):
        pulled = pull(Hub("", home), staged.name, version, tmp_path / name)
        assert (pulled.commit, pulled.version) == (published.commit, "v1")
        assert hashes(tmp_path / name) == {path: file.sha256 for path, file in staged.files.items()} == pulled.files
    assert verify(Hub("", home), staged.name, "v1").commit == published.commit


@pytest.mark.parametrize("path", ["model.safetensors", "README.md", "quantmill.json"])
def test_flipped_bit_on_the_server_is_found(
    staged: Staged, loopback: LoopbackHub, home: Path, tmp_path: Path, path: str
) -> None:
    published = publish(staged)
    file = loopback.repositories[staged.name].commits[published.commit][path]
    listed = file.row(path)
    damaged = File(file.content[:-1] + bytes([file.content[-1] ^ 1]), file.large)
    damaged.row = lambda path: listed  # type: ignore[method-assign]
    loopback.repositories[staged.name].commits[published.commit][path] = damaged
    with pytest.raises(PublishError, match=path):
        pull(Hub("", home), staged.name, "v1", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists() and not list(tmp_path.glob(".pulled*"))
    with pytest.raises(PublishError, match=r"is not what was released|not what the Hub lists|not a provenance record"):
        verify(Hub("", home), staged.name)


def test_commit_refused_by_a_sick_server_is_tried_again(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.before = once("/commit/main", Answer(503, {"error": "overloaded"}))
    publish(staged)
    assert len(loopback.repositories[staged.name].history) == 2


def test_commit_whose_answer_was_lost_is_found(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.after = once("/commit/main", Answer(504, {"error": "gateway timeout"}))
    published = publish(staged)
    repository = loopback.repositories[staged.name]
    assert loopback.count("POST", "/commit/main") == 1
    assert repository.tags == {"v1": published.commit} and len(repository.history) == 2


def test_commit_that_never_succeeds_leaves_main_alone(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.before = always("/commit/main", Answer(500, {"error": "internal"}))
    with pytest.raises(HubError, match="main is unchanged"):
        publish(staged)
    repository = loopback.repositories[staged.name]
    assert len(repository.history) == 1 and repository.tags == {}
    assert loopback.count("POST", "/commit/main") == len(patience.DELAYS) + 1
    loopback.before = lambda method, path: None
    assert publish(staged).version == "v1"


def test_somebody_elses_commit_is_not_overwritten(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.create(staged.name)
    repository = loopback.repositories[staged.name]

    def interfere(method: str, path: str) -> None:
        if "/commit/main" in path:
            repository.add({**repository.commits[repository.head], "theirs.txt": File(b"x", large=False)})

    loopback.before = interfere
    with pytest.raises(PublishError, match="Somebody else committed"):
        publish(staged)
    assert len(repository.history) == 2 and repository.tags == {}


def test_stale_head_from_a_cache_is_tried_again(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.before = once("/commit/main", Answer(412, {"error": "A commit has happened since."}))
    assert publish(staged).version == "v1"


def test_lost_answer_to_the_tag_gives_no_second_version(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.after = once("/tag/", Answer(502, {"error": "bad gateway"}))
    assert publish(staged).version == "v1"
    assert list(loopback.repositories[staged.name].tags) == ["v1"]


def test_version_taken_meanwhile_is_not_moved(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.create(staged.name)
    repository = loopback.repositories[staged.name]

    def take(method: str, path: str) -> None:
        if method == "POST" and "/tag/" in path and "v1" not in repository.tags:
            repository.tags["v1"] = repository.history[0]

    loopback.before = take
    assert publish(staged).version == "v2"
    assert repository.tags["v1"] == repository.history[0]


def test_hub_that_lists_other_content_is_not_tagged(staged: Staged, loopback: LoopbackHub) -> None:
    def corrupt(method: str, path: str) -> None:
        if "/commit/main" in path:
            repository = loopback.repositories[staged.name]
            repository.commits[repository.head]["config.json"] = File(b"{}", large=False)

    loopback.after = corrupt
    with pytest.raises(HubError, match=r"lists other content.*config\.json"):
        publish(staged)
    assert loopback.repositories[staged.name].tags == {}


def test_interrupted_upload_is_completed(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.before = always("info/lfs/objects/batch", Answer(500, {"error": "internal"}))
    with pytest.raises(HubError):
        publish(staged)
    loopback.before = lambda method, path: None
    assert publish(staged).version == "v1"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("status", [503, 429, DROPPED])
def test_one_fault_at_any_request_is_outlived(staged: Staged, loopback: LoopbackHub, when: str, status: int) -> None:
    publish(staged)
    total = len(loopback.requests)
    assert total > 8
    for faulty in range(total):
        loopback.repositories.clear()
        loopback.objects.clear()
        count = iter(range(10_000))

        def fault(method: str, path: str, faulty: int = faulty, count: Iterator[int] = count) -> Answer | None:
            return Answer(status, {"error": "try later"}) if next(count) == faulty else None

        setattr(loopback, when, fault)
        published = publish(staged)
        repository = loopback.repositories[staged.name]
        assert repository.tags == {"v1": published.commit} and len(repository.history) == 2, (
            f"fault at request {faulty}"
        )


def test_two_publish_the_same_at_once(staged: Staged, loopback: LoopbackHub) -> None:
    other: list[Place] = []

    def race(method: str, path: str) -> None:
        if "/commit/main" in path:
            loopback.before = lambda method, path: None
            other.append(publish(staged))

    loopback.before = race
    assert publish(staged) == other[0]
    repository = loopback.repositories[staged.name]
    assert len(repository.history) == 2 and list(repository.tags) == ["v1"]


def test_token_without_write_access_fails_before_any_upload(staged: Staged, loopback: LoopbackHub) -> None:
    loopback.create(staged.name)
    loopback.refused.add(staged.name)
    with pytest.raises(PublishError, match="check that the token may write to acme/demo-int4"):
        publish(staged)
    assert loopback.objects == {}


def test_wrong_token_is_named_and_not_shown(
    staged: Staged, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", "hf_not_the_right_one")
    loopback.before = always("/repos/create", Answer(401, {"error": "bad token hf_not_the_right_one"}))
    with pytest.raises(PublishError, match="Check that HF_TOKEN is valid") as caught:
        publish(staged)
    assert "hf_not_the_right_one" not in str(caught.value) + caplog.text


def test_no_token_no_publishing(staged: Staged, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="HF_TOKEN"):
        publish(staged)
    assert loopback.requests == []


def test_offline_environment_is_named(staged: Staged, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE"):
        publish(staged)


def test_server_that_is_not_there(staged: Staged, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="again is safe"):
        publish(staged)


def test_unknown_names_on_the_hub(staged: Staged, loopback: LoopbackHub, home: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no release called 'acme/demo-int4'"):
        pull(Hub("", home), staged.name, None, tmp_path / "pulled")
    publish(staged)
    with pytest.raises(PublishError, match=r"no version 'v9' on the Hub at .* It has v1"):
        pull(Hub("", home), staged.name, "v9", tmp_path / "pulled")
