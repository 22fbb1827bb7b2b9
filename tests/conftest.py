import os

import pytest

from tests.releases import released, subjects  # noqa: F401 - fixtures of all tests

# Two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: what needs the milled demo or a Prefect server."""
    items.sort(key=lambda item: not {"demo", "prefect"} & set(getattr(item, "fixturenames", ())))
