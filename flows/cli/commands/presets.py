"""`quantmill presets`: the recipes that go by a name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.console import out, print_json
from flows.cli.options import Json
from flows.cli.tables import Rows

if TYPE_CHECKING:
    from quantizers.recipe import Recipe


def presets(as_json: Json = False) -> None:
    """List the presets: size, quality, what making takes.

    Those that come with quantmill, and those of the nearest targets.yaml from here upward. Bits are those of a weight, its
    scale included. Quality is the class of the KL divergence that was measured on a small model. Making is fast where no text
    is read, medium where text runs through the model once, slow where scales are trained.
    """
    from flows.manifest.presets import presets_for

    offered = presets_for(Path.cwd())
    rows = [row_of(name, recipe) for name, recipe in offered.recipes.items()]
    if as_json:
        print_json(rows)
        return
    for part in listings(rows):
        out.print(part)
    if offered.path:
        out.print(f"With those of {offered.path}.", soft_wrap=True)
    out.print("In a manifest:  targets: {int4: NAME}, or {int4: {preset: NAME, group_size: 32}} to change a field.")


def row_of(name: str, recipe: Recipe) -> dict[str, Any]:
    """Return a preset with what a person chooses it by."""
    from flows.manifest.choosing import choice

    told = asdict(choice(recipe))
    told["devices"] = list(told["devices"])
    return {"preset": name, "format": recipe.format, "engine": recipe.engine, **told, "calibrated": recipe.calibrated}


def listings(rows: list[dict[str, Any]]) -> list[Rows]:
    """Return the presets of each format and engine for a person."""
    from catalog.formats import FORMATS

    made: dict[tuple[str, str], Rows] = {}
    for row in rows:
        group = (row["format"], row["engine"])
        if group not in made:
            client = FORMATS[row["format"]].client.module
            where = (
                "small and fast in memory" if row["small_in_memory"] else "small on disk alone: unpacked when it runs"
            )
            engine = "" if row["engine"] == "streaming" else f", made by {row['engine']}"
            title = f"{row['format']}{engine}. Loads in {client}, on {', '.join(row['devices'])}; {where}."
            columns = ("preset", ">bits", "quality", "making", *(("vLLM",) if row["vllm"] else ()))
            made[group] = Rows(columns, title=title)
        vllm = ((row["vllm"] if row["vllm"][0].isdigit() or row["vllm"] == "yes" else "no"),) if row["vllm"] else ()
        made[group].add(row["preset"], f"{row['bits_per_weight']:.2f}", row["quality"], row["making"], *vllm)
    return list(made.values())
