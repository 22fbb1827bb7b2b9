"""`quantmill rollback`: an earlier version put back."""

from __future__ import annotations

from flows.cli.console import out, print_json
from flows.cli.options import At, Home, Json, ReleaseName
from flows.cli.release_names import find_home, open_at, split
from flows.errors import UsageError


def rollback(release: ReleaseName, at: At = "local", home: Home = None, as_json: Json = False) -> None:
    """Put an earlier version of a release back.

    It becomes the one that users get who name no version. RELEASE names it: acme/model-int4@v1.
    """
    name, version = split(release)
    if version is None:
        raise UsageError(f"name the version to put back: quantmill rollback {name}@v1 (`quantmill list` shows them)")
    destination = open_at(at, find_home(home))
    found = destination.find(name, version)
    destination.rollback(found)
    if as_json:
        print_json({"release": found.name, "version": found.version, "commit": found.commit})
        return
    out.print(f"{found.name} is {found.version} again for whoever names no version.")
