import re
from pathlib import Path

import pytest

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from tests.flows.manifest.room import REPOSITORY

PAGE = (REPOSITORY / "docs" / "manifest.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_page_loads(example: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(example)
    assert load(tmp_path / "m.yaml").targets


def test_the_first_example_makes_the_release_the_page_names(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(EXAMPLES[0])
    loaded = load(tmp_path / "m.yaml")
    assert f"`{loaded.release('int4')}`" in PAGE


def test_the_error_of_the_page_is_the_one_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    Path("phi.yaml").write_text("model: {source: a/b}\ntargets:\n  int4:\n    groupsize: 64\n")
    with pytest.raises(ManifestError) as caught:
        load("phi.yaml")
    assert str(caught.value) == shown


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((\.\./[^)]*)\)", PAGE)
    assert links
    assert [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []
