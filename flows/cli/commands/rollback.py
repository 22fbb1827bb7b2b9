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
    released = destination.find(name, version)
    destination.rollback(released)
    if as_json:
        print_json({"release": released.name, "version": released.version, "commit": released.commit})
        return
    out.print(f"{released.name} is {released.version} again for whoever names no version.")
