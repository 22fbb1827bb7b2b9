"""`quantmill verify`: a release against its record."""

from __future__ import annotations

from flows.cli.console import out, print_json
from flows.cli.options import FromHub, Home, Json, ReleaseName
from flows.cli.release_names import find_home, split


def verify(release: ReleaseName, hub: FromHub = False, home: Home = None, as_json: Json = False) -> None:
    """Check every file of a release against its record.

    RELEASE reads namespace/model-target, or …@v2 for one version.
    """
    from publishers.destinations.client import apply_hub_settings

    apply_hub_settings()
    from publishers.verify import verify as check

    name, version = split(release)
    found = check(find_home(home), name, version, "hub" if hub else "local")
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        words = f"{len(found.files)} files are what they were when it was released"
        out.print(f"[green]✓[/green] {found.name}@{found.version}: {words}", highlight=False)
