"""docs/releases.md says what is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from publishers.card.loading import snippet
from publishers.destinations.local import Local
from publishers.request import Subject
from publishers.stage import stage

PAGE = (Path(__file__).parents[2] / "docs/releases.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_files_named_are_those_of_a_release(subject: Subject, home: Path, tmp_path: Path) -> None:
    staged = stage(subject, tmp_path / "stage", home)
    [listing] = blocks("text")
    named = [line.split("  ")[0].split(",")[0] for line in listing.splitlines()]
    assert set(named) <= staged.files.keys() and len(named) == 4


def test_loading_code_is_that_of_a_pull() -> None:
    [code] = blocks("python")
    assert snippet(
        "compressed-tensors", "text-generation", "acme/demo-int4", "v1", Path("/path/to/.quantmill")
    ).startswith(code.replace("'", '"'))


def test_command_prints_the_commit(subject: Subject, home: Path, tmp_path: Path) -> None:
    local = Local("", home)
    local.publish(stage(subject, tmp_path / "stage", home))
    release = local.find(subject.name)
    [command] = blocks("bash")
    done = subprocess.run(["bash", "-c", command], cwd=release.directory, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == release.commit
