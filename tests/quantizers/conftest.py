from pathlib import Path

import pytest

from tests.quantizers.models import make_llama


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "model")


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "model", tie=True)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "model", shard="100KB")
