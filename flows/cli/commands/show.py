"""`quantmill show`: one release's card."""

from __future__ import annotations

from flows.cli.console import out, print_json
from flows.cli.options import Home, Json, ReleaseName
from flows.cli.release_names import find_home, split


def show(release: ReleaseName, home: Home = None, as_json: Json = False) -> None:
    """Show the card of a release: facts, evidence, how to load it.

    RELEASE reads namespace/model-target, or …@v2 for one version.
    """
    from flows.cli.card import Card
    from publishers.destinations.local import find

    found = find(find_home(home), *split(release))
    if as_json:
        print_json({"directory": str(found.directory), **found.provenance.model_dump(mode="json")})
        return
    card = (found.directory / "README.md").read_text(encoding="utf-8")
    out.print(Card(card.split("\n---\n", 1)[-1]))
