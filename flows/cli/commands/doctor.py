"""`quantmill doctor`: what this machine can do."""

from __future__ import annotations

from flows.cli.console import out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home
from flows.cli.tables import facts


def doctor(home: Home = None, as_json: Json = False) -> None:
    """Say what this machine can do, and what is missing."""
    from flows.cli.doctor import examine

    machine = examine(find_home(home))
    if as_json:
        print_json(machine)
        return
    out.print(facts(machine))
    if machine["missing_packages"]:
        out.print("Install quantmill again, from its constraints.txt, to have what is missing.")
