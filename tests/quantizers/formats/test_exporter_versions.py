"""Which transformers optimum-intel exports with: the page says what its own table does."""

from pathlib import Path

from bench.exporters import table
from quantizers.formats.openvino.limits import exports

PAGE = Path(__file__).parents[3] / "docs" / "decisions" / "0024-transformers-stays-at-5-5.md"


def test_the_decision_shows_the_exporter_s_own_table() -> None:
    assert table() in PAGE.read_text("utf-8")


def test_bounds_are_read_with_those_of_base_classes() -> None:
    bounds = {each.kind: each for each in exports()}
    assert bounds["gemma2"].most == "5.0" and bounds["gemma2"].words == "up to 5.0"
    assert bounds["marian"].most == "4.57.6"
    assert bounds["gemma4"].least and bounds["gemma4"].takes("5.5.4") and not bounds["gemma4"].takes("5.0.0")
