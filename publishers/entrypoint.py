"""One release: staged, checked, then put into every place that was asked for."""

from __future__ import annotations

from pathlib import Path

from publishers.card.render import CARD
from publishers.destinations.destination import open_destination
from publishers.figures import settled
from publishers.files import remove_tree, write_new
from publishers.provenance import PROVENANCE
from publishers.request import Request, Result
from publishers.stage import stage

STAGE = "stage"


def run(request: Request, out: Path) -> Result:
    """Publish the subject; leave its card, its provenance and, last, `result.json` in `out`.

    Safe to repeat after any failure: what is in place already is found and kept.

    Raises:
        PublishError: the subject must not or cannot be released as it is; no place holds any of it.
        EnvironmentFault: a place could not take it; places before it in `to` hold the release, it holds all of it or none.
    """
    destinations = [open_destination(to, request.home, private=request.private) for to in request.to]
    for destination in destinations:
        destination.preflight(request.subject.name)
    remove_tree(out / STAGE)
    staged = stage(settled(request.subject, destinations), out / STAGE, request.home)
    publications = [destination.publish(staged) for destination in destinations]
    for kept in (CARD, PROVENANCE):
        (out / kept).unlink(missing_ok=True)
        write_new(out / kept, (staged.directory / kept).read_bytes())
    remove_tree(out / STAGE)
    result = Result(
        name=staged.name,
        places=tuple(publications),
        files={path: file.sha256 for path, file in sorted(staged.files.items())},
    )
    (out / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return result
