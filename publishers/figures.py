"""Figures of a machine in a release: told once, by whoever measured first, so that measuring again makes no new version.

Everything else in a release comes out the same every time. What was timed does not: where a version is out that is the same but
for such figures, a release takes those of that version, and is that version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from publishers.card.card_evidence import without_timings
from publishers.destinations.destination import Destination
from publishers.errors import PublishError
from publishers.provenance import Provenance, of_subject
from publishers.request import Subject

SPEED = "speed"
"""What of the evidence was measured on one machine, and differs each time."""


def settled(subject: Subject, destinations: Sequence[Destination]) -> Subject:
    """Return the subject with the figures that are out already, of the newest version that is the same but for them.

    Raises:
        HubError: a server did not answer.
    """
    if not subject.evidence.get(SPEED):
        return subject
    untimed = subject.model_copy(update={"verdict": without_timings(subject.verdict)})
    own = {**_same_every_time(of_subject(untimed, {})), "files": subject.files}
    for told in _released(subject.name, destinations):
        held = {path: file.sha256 for path, file in told.files.items() if path in subject.files}
        if told.evidence.get(SPEED) and {**_same_every_time(told), "files": held} == own:
            return subject.model_copy(update={"evidence": {**subject.evidence, SPEED: told.evidence[SPEED]}})
    return subject


def _released(name: str, destinations: Sequence[Destination]) -> Iterator[Provenance]:
    """What every version says of itself, newest first; over a network that of `main` alone."""
    for destination in destinations:
        for release in reversed(destination.versions(name)):
            if release.directory or release.current:
                with suppress(PublishError):  # damaged, which publishing mends
                    yield destination.provenance(release)


def _same_every_time(provenance: Provenance) -> dict[str, Any]:
    """What it says but for the figures, and for its files, which are made of them."""
    told = provenance.model_dump(mode="json", exclude={"files"})
    told["evidence"] = {name: value for name, value in told["evidence"].items() if name != SPEED}
    return told
