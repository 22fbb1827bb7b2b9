"""`quantmill rm`: a release, or one version, out of the local hub."""

from __future__ import annotations

from flows.cli.console import err, out, print_json
from flows.cli.options import Home, Json, ReleaseName
from flows.cli.release_names import find_home, split


def rm(release: ReleaseName, home: Home = None, as_json: Json = False) -> None:
    """Remove a release from the local hub.

    RELEASE reads namespace/model-target, or …@v2 for one version; main goes to the newest that is left. No version's name is
    given again. What the release was made of stays in the store until `quantmill gc`. What another release has as its draft, or
    as the base of an adapter, is refused while that one is there.
    """
    from catalog.sizes import in_words
    from flows.cli.bars import bars
    from flows.execution.removal import remove
    from flows.store import Store

    store, name = Store(find_home(home)), split(release)
    with bars(err if as_json else out):
        removed = remove(store, *name)
    if as_json:
        print_json({"release": name[0], "removed": removed.versions, "main": removed.main, "bytes": removed.bytes})
        return
    left = f"main is {removed.main}" if removed.main else "no version is left"
    out.print(f"{name[0]}: removed {', '.join(removed.versions)}, {in_words(removed.bytes)}; {left}.")
    if removed.manifest:
        out.print(
            f"The next run of {removed.manifest} releases it again, unless the target is taken out there.",
            soft_wrap=True,
        )
