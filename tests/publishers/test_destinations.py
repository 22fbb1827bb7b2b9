"""What every destination promises, held against each row of the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.destinations import DESTINATIONS, checked, kind_of
from publishers.destinations.destination import Destination, open_destination
from publishers.entrypoint import run
from publishers.errors import PublishError
from publishers.provenance import PROVENANCE
from publishers.pull import pull
from publishers.request import Request, Subject
from publishers.stage import Staged, stage
from publishers.verify import verify
from tests.publishers.conftest import hashes
from tests.publishers.loopback_hub import LoopbackHub

pytestmark = pytest.mark.usefixtures("without_waiting", "loopback")

Make = Callable[[int], Staged]


@pytest.fixture(params=DESTINATIONS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind = DESTINATIONS[request.param]
    if not kind.path:
        return kind.name
    (tmp_path / "place").mkdir()
    return f"{kind.name}:{tmp_path / 'place'}"


@pytest.fixture
def destination(address: str, home: Path) -> Destination:
    return open_destination(address, home)


@pytest.fixture
def make(subject: Subject, home: Path, tmp_path: Path) -> Make:
    """Releases of one name, told apart by a number."""

    def staged(number: int) -> Staged:
        recipe = {**subject.recipe, "group_size": number}
        return stage(subject.model_copy(update={"recipe": recipe}), tmp_path / f"stage-{number}", home)

    return staged


def seen(destination: Destination, name: str) -> list[tuple[str, str, bool]]:
    return [(release.version, release.commit, release.current) for release in destination.versions(name)]


def test_published_found_read_verified_and_pulled(
    destination: Destination, address: str, make: Make, tmp_path: Path
) -> None:
    staged = make(1)
    destination.preflight(staged.name)
    assert destination.releases() == [] == destination.versions(staged.name)
    with pytest.raises(PublishError, match="no release called 'acme/demo-int4'"):
        destination.find(staged.name)
    published = destination.publish(staged)
    assert (published.to, published.version) == (address, "v1")
    destination.preflight(staged.name)
    assert seen(destination, staged.name) == [("v1", published.commit, True)]
    [release] = destination.releases()
    assert release == destination.find(staged.name) == destination.find(staged.name, "v1")
    assert destination.main_of(staged.name) == published.commit and not destination.is_pinned(staged.name)
    assert destination.read(release, PROVENANCE) == (staged.directory / PROVENANCE).read_bytes()
    assert destination.provenance(release) == staged.provenance
    assert verify(destination, staged.name).commit == published.commit
    pulled = pull(destination, staged.name, "v1", tmp_path / "pulled")
    assert pulled.files == hashes(tmp_path / "pulled") == {path: file.sha256 for path, file in staged.files.items()}
    with pytest.raises(PublishError, match=r"no version 'v7' .* It has v1\."):
        destination.find(staged.name, "v7")


def test_nothing_is_seen_of_what_is_only_staged(destination: Destination, make: Make) -> None:
    first, second = make(1), make(2)
    destination.stage(first)
    assert destination.releases() == [] == destination.versions(first.name)
    published = destination.promote(first)
    destination.stage(second)
    destination.stage(second)
    assert seen(destination, first.name) == [("v1", published.commit, True)]
    assert destination.promote(second).version == "v2"


def test_versions_stay_and_a_rollback_moves_main_alone(destination: Destination, make: Make, tmp_path: Path) -> None:
    first, second, third = make(1), make(2), make(3)
    one, two = destination.publish(first), destination.publish(second)
    assert seen(destination, first.name) == [("v1", one.commit, False), ("v2", two.commit, True)]
    for _ in range(2):
        destination.rollback(destination.find(first.name, "v1"))
        assert seen(destination, first.name) == [("v1", one.commit, True), ("v2", two.commit, False)]
        assert destination.is_pinned(first.name)
        assert destination.publish(second) == two, "what has a version keeps it, and undoes no rollback"
        assert destination.publish(first) == one
    assert pull(destination, first.name, None, tmp_path / "pulled").version == "v1"
    assert hashes(tmp_path / "pulled") == {path: file.sha256 for path, file in first.files.items()}
    destination.preflight(first.name)
    three = destination.publish(third)
    assert seen(destination, first.name) == [
        ("v1", one.commit, False),
        ("v2", two.commit, False),
        ("v3", three.commit, True),
    ]
    verify(destination, first.name, "v2")


def test_main_is_what_is_published_again(destination: Destination, make: Make) -> None:
    first, second = make(1), make(2)
    one, two = destination.publish(first), destination.publish(second)
    for staged, published in ((first, one), (second, two), (first, one)):
        assert destination.publish(staged) == published
        assert destination.find(staged.name).version == published.version
    assert [release.version for release in destination.versions(first.name)] == ["v1", "v2"]


def test_the_door_publishes_into_it(address: str, subject: Subject, home: Path, tmp_path: Path) -> None:
    result = run(Request(subject=subject, home=home, to=("local", address)), tmp_path / "out")
    assert [published.to for published in result.places] == ["local", address]
    for published in result.places:
        assert verify(open_destination(published.to, home), subject.name).files == result.files


@pytest.mark.parametrize("written", ["huh", "", "local:", "local:/tmp", "hub:x", "Local"])
def test_what_is_no_destination_is_told_with_what_is(written: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: local, hub"):
        checked(written)


def test_near_misses_are_named() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'local'\?"):
        kind_of("locl")


def test_a_namespace_of_somebody_else_is_told_before_any_work(
    loopback: LoopbackHub, subject: Subject, home: Path
) -> None:
    hub = open_destination("hub", home)
    for namespace in ("google", "acme-labs"):  # of the second the token may read alone
        with pytest.raises(
            PublishError, match=rf"acme's and can make no repository below {namespace}; below acme it can"
        ):
            hub.preflight(f"{namespace}/demo-int4")
    loopback.before = lambda method, path: None
    hub.preflight(subject.name)
    assert loopback.repositories == {}
