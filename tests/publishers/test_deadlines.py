"""How long a Hub is waited for: never for ever, as long as it asks to be, and not at all when it has refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from publishers.destinations import client, patience
from publishers.destinations.hub import Hub
from publishers.errors import HubError, PublishError
from publishers.pull import pull
from publishers.request import Subject
from publishers.stage import Staged, stage
from publishers.verify import verify
from tests.publishers.loopback_hub import HELD, Answer, LoopbackHub


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were to be slept, none of which are."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(client, "_resume_at", {})
    return slept


@pytest.fixture
def staged(subject: Subject, home: Path, tmp_path: Path) -> Staged:
    return stage(subject, tmp_path / "stage", home)


def publish(staged: Staged) -> None:
    destination = Hub("", Path())
    destination.preflight(staged.name)
    destination.publish(staged)


@contextmanager
def silent_from(loopback: LoopbackHub, number: int) -> Iterator[None]:
    """The Hub accepts and never answers from its `number`-th request on; a short deadline, as long as it is silent."""
    left = iter([None] * number)
    loopback.before = lambda method, path: next(left, Answer(HELD))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.05")
        patch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
        yield
    loopback.before = lambda method, path: None


def once(part: str, answer: Answer) -> Callable[[str, str], Answer | None]:
    left = iter([answer])
    return lambda method, path: next(left, None) if part in path else None


@pytest.mark.usefixtures("waits")
def test_a_hub_that_stops_answering_is_given_up_at_every_request(staged: Staged, loopback: LoopbackHub) -> None:
    publish(staged)
    total = len(loopback.requests)
    for number in range(total):
        loopback.repositories.clear()
        loopback.objects.clear()
        with silent_from(loopback, number), pytest.raises(HubError, match="Running again is safe"):
            publish(staged)
        publish(staged)
        assert list(loopback.repositories[staged.name].tags) == ["v1"], f"silent from request {number}"


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("fetch", [pull, verify])
def test_reading_from_a_hub_that_never_answers_ends(
    staged: Staged, loopback: LoopbackHub, home: Path, tmp_path: Path, fetch: Callable[..., object]
) -> None:
    publish(staged)

    def ask(to: Path) -> None:
        arguments = (to,) if fetch is pull else ()
        fetch(Hub("", home), staged.name, "v1", *arguments)

    before = len(loopback.requests)
    ask(tmp_path / "whole")
    for number in (0, 1, 2, 3, len(loopback.requests) - before - 1):
        with silent_from(loopback, number), pytest.raises(HubError):
            ask(tmp_path / f"{number}")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dated", [False, True])
def test_a_server_is_not_asked_before_it_said(
    staged: Staged, loopback: LoopbackHub, waits: list[float], status: int, dated: bool
) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True) if dated else "40"
    loopback.before = once("/auth-check", Answer(status, {"error": "busy"}, {"Retry-After": when}))
    publish(staged)
    assert any(35 < seconds <= 40 for seconds in waits), waits


def test_a_server_that_asks_for_a_day_is_asked_sooner(
    staged: Staged, loopback: LoopbackHub, waits: list[float]
) -> None:
    loopback.before = once("/auth-check", Answer(503, {"error": "busy"}, {"Retry-After": "86400"}))
    publish(staged)
    assert max(waits) <= client.LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(
    "said", ["", "soon", "-5", "Wed, 32 Foo 2026", format_datetime(datetime(2020, 1, 1, tzinfo=UTC))]
)
def test_a_time_that_is_none_is_no_reason_to_wait(
    staged: Staged, loopback: LoopbackHub, waits: list[float], said: str
) -> None:
    loopback.before = once("/auth-check", Answer(503, {"error": "busy"}, {"Retry-After": said}))
    publish(staged)
    first, *more = waits
    assert first <= 1.5 * patience.DELAYS[0] and not more


def test_attempts_are_spread(staged: Staged, loopback: LoopbackHub, waits: list[float]) -> None:
    loopback.before = lambda method, path: Answer(503, {"error": "busy"})
    for _ in range(2):
        with pytest.raises(HubError):
            publish(staged)
    assert len(waits) == 2 * len(patience.DELAYS) == len(set(waits))


@pytest.mark.parametrize("status", [400, 413, 501, 507])
@pytest.mark.parametrize("part", ["/preupload/", "/lfs/", "/commit/main"])
def test_a_refusal_is_not_asked_again(
    staged: Staged, loopback: LoopbackHub, waits: list[float], status: int, part: str
) -> None:
    asked: list[str] = []

    def refuse(method: str, path: str) -> Answer | None:
        if part not in path or "/objects/batch" in path:
            return None
        asked.append(path)
        return Answer(status, {"error": "too much for this server"})

    loopback.before = refuse
    with pytest.raises(PublishError, match="too much for this server") as caught:
        publish(staged)
    assert len(asked) == 1 and "again is safe" not in str(caught.value)


def test_the_first_request_of_a_pull_is_asked_again(
    staged: Staged, loopback: LoopbackHub, waits: list[float], home: Path, tmp_path: Path
) -> None:
    publish(staged)
    loopback.before = once(staged.name, Answer(503, {"error": "busy"}))
    assert pull(Hub("", home), staged.name, "v1", tmp_path / "pulled").version == "v1"
