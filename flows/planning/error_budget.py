"""What a release has risked so far, and what the next attempt at it may risk: `HOME/risk/<release>.json`.

However often something is tried, under this name at most `1 - gates.confidence` of it is released wrongly. The k-th
attempt, all recipes of a ladder or a search together, may take 1 / (k (k + 1)) of that risk: half, a sixth, a twelfth, ...,
which add up to 1 and no more. What an attempt takes is divided evenly among its recipes, because the first that passes is
released. It is written down before anything is judged, so a run that is killed finds its own share again, and the same
verdicts on the same bytes risk nothing new.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog.errors import EnvironmentFault
from flows.execution.lock import heavy
from flows.files.durable import write_durably
from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.store import Store


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Attempt(_Part):
    """All recipes of one release, judged under one share of its risk."""

    verdicts: tuple[str, ...]
    """Keys of the verdicts of its recipes, in the order they are tried."""
    judged: dict[str, str]
    """Key of each verdict that was begun → fingerprint of the artifact's bytes."""
    share: float
    """Of the risk that the release may take altogether."""
    since: datetime


class Spending(_Part):
    """All attempts at one release, in order."""

    attempts: tuple[Attempt, ...] = ()

    @property
    def share(self) -> float:
        """What is spent, as a share of what may be."""
        return sum(attempt.share for attempt in self.attempts)


def spending(release: str, store: Store) -> Spending:
    """Return what was risked on a release. Raises EnvironmentFault when that cannot be read."""
    path = _path(release, store)
    try:
        return Spending.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Spending()
    except ValidationError as error:
        raise EnvironmentFault(
            f"{path} cannot be read as what {release} has risked so far, so nothing of it can be judged: restore it from a "
            f"backup, or remove it, which forgets what was risked ({error.errors()[0]['msg']})"
        ) from error


def spend(job: Job, rung: Rung, content: str, store: Store) -> float:
    """Return the one-sided risk that the verdict on a rung's artifact, of these bytes, may take; note it if it is new."""
    keys = tuple(job.verdict(each).key for each in job.target.rungs)
    return (1 - job.manifest.gates.confidence) * share_of(job.release, keys, job.verdict(rung).key, content, store)


def share_of(release: str, keys: tuple[str, ...], key: str, content: str, store: Store) -> float:
    """Return the share of a release's risk that one verdict of an attempt may take, and note it if it is new.

    keys: of the verdicts of all of the attempt's recipes; key: of the one on the artifact with these bytes.
    """
    with heavy(store, f"{release}: noting its risk"):
        before = spending(release, store)
        attempts = list(before.attempts)
        number = _own(attempts, keys, key, content)
        if number is None:
            number = len(attempts)
            share = 1 / ((number + 1) * (number + 2))
            attempts.append(Attempt(verdicts=keys, judged={}, share=share, since=datetime.now(UTC)))
        attempt = attempts[number]
        if key not in attempt.judged:
            attempts[number] = attempt.model_copy(update={"judged": {**attempt.judged, key: content}})
            _keep(release, Spending(attempts=tuple(attempts)), store)
    return attempt.share / len(keys)


def _own(attempts: list[Attempt], keys: tuple[str, ...], key: str, content: str) -> int | None:
    """Return the number of the attempt that a verdict belongs to: of these recipes, and with no other bytes judged."""
    for number, attempt in enumerate(attempts):
        if attempt.verdicts == keys and attempt.judged.get(key, content) == content:
            return number
    return None


def _path(release: str, store: Store) -> Path:
    return store.home / "risk" / f"{release.replace('/', '--')}.json"


def _keep(release: str, spent: Spending, store: Store) -> None:
    path = _path(release, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, spent.model_dump_json(indent=1).encode())
