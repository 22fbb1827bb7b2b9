"""`quantmill show`: one release's card."""

from __future__ import annotations

from flows.cli.console import out, print_json
from flows.cli.options import At, Home, Json, ReleaseName
from flows.cli.release_names import find_home, open_at, split


def show(release: ReleaseName, at: At = "local", home: Home = None, as_json: Json = False) -> None:
    """Show the card of a release: facts, evidence, how to load it.

    RELEASE reads namespace/model-target, or …@v2 for one version.
    """
    from flows.cli.card import Card

    destination = open_at(at, find_home(home))
    released = destination.find(*split(release))
    if as_json:
        directory = released.directory and str(released.directory)
        print_json({"directory": directory, **destination.provenance(released).model_dump(mode="json")})
        return
    card = destination.read(released, "README.md").decode()
    out.print(Card(card.split("\n---\n", 1)[-1]))
