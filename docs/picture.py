"""Draw docs/run.svg: the demo, milled for real into an empty store, as a terminal shows it.

python docs/picture.py
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from rich.console import Console

from flows.cli.commands.run import mill, outcome_rows
from flows.reports.outcomes import outcomes
from flows.store import Store

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the demo and draw it."""
    console = Console(record=True, width=88, force_terminal=True, force_interactive=False)
    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home))
        console.print("[dim]$[/dim] quantmill run manifests/demo/demo.yaml", highlight=False)
        ended, *_ = mill([ROOT / "manifests" / "demo" / "demo.yaml"], store, console)
        for rows in outcome_rows(outcomes(ended, store)):
            console.print(rows)
    picture = console.export_svg(title="quantmill")
    # The picture must not fetch a font from elsewhere.
    (ROOT / "docs" / "run.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


if __name__ == "__main__":
    main()
