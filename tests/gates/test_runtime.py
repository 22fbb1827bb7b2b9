"""An artifact is judged in the dtype that its target asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gates.conftest import Bench


@pytest.mark.parametrize(("compute", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_products_are_taken_in_the_dtype_that_is_asked_for(
    bench: Bench, tmp_path: Path, compute: str, dtype: str
) -> None:
    evidence = bench.evidence(bench.artifact, tmp_path, runtime={"compute": compute})
    assert evidence.runtime["dtype"] == dtype and evidence.summary
