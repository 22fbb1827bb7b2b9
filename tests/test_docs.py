"""What the pages say can be typed."""

import re
from pathlib import Path

import pytest
import typer

from flows.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_with_its_options(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    code = re.findall(r"```.*?```|`[^`]+`", page.read_text(), re.DOTALL)
    for verb, rest in re.findall(r"\bquantmill ([a-z]+)\b([^\n`#]*)", "\n".join(code)):
        assert verb in commands, verb
        options = {name for parameter in commands[verb].params for name in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, (verb, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    ours = r"`((?:catalog|flows|quantizers|gates|publishers|tests|bench|docs|manifests)/[\w./-]*)`"
    for name in re.findall(ours, page.read_text()):
        assert (ROOT / name).exists(), name


def test_every_make_target_named_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_dockerfile_installs_from_the_same_constraints() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "--constraint constraints.txt" in text
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
