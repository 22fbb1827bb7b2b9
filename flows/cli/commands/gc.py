"""`quantmill gc`: what nothing needs any more, shown, and removed when asked."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from flows.cli.console import err, out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this, it is only shown.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what no release and no job needs; with --yes remove it.

    Jobs are those of every manifest that was run here and is still there, fresh or stale. Releases stay: `quantmill rm`
    removes them.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # what was resolved last counts: nothing newer is in the store
    from catalog.sizes import in_words
    from flows.cli.bars import bars
    from flows.cli.tables import Rows
    from flows.execution.garbage import garbage, remove
    from flows.execution.lock import heavy, refuse_while_others_work
    from flows.store import Store

    store = Store(find_home(home))
    refuse_while_others_work(store)
    with bars(err if as_json else out), heavy(store, "gc"):
        unneeded = garbage(store)
        sizes = [each.bytes for each in unneeded]
        if yes:
            remove(unneeded)
    total = sum(sizes)
    if as_json:
        rows = [
            {"what": each.what, "count": len(each.paths), "bytes": size}
            for each, size in zip(unneeded, sizes, strict=True)
        ]
        print_json({"removed": yes, "bytes": total, "garbage": rows})
        return
    if not unneeded:
        out.print("Nothing to remove: all of the store is needed by a release or by a job.")
        return
    shown = Rows(("what", ">count", ">size"))
    for each, size in zip(unneeded, sizes, strict=True):
        shown.add(each.what, str(len(each.paths)), in_words(size))
    out.print(shown)
    out.print(f"{in_words(total)} {'removed' if yes else 'to remove: quantmill gc --yes'}")
