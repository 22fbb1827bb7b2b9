from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.preflight import check
from tests.flows.manifest.room import furnish
from tests.flows.manifest.test_load import EVERYTHING
from tests.flows.manifest.wrong.case import GOOD, Wrong
from tests.flows.manifest.wrong.documents import DOCUMENTS
from tests.flows.manifest.wrong.files import FILES
from tests.flows.manifest.wrong.keys import KEYS
from tests.flows.manifest.wrong.running import RUNNING
from tests.flows.manifest.wrong.targets import TARGETS_AND_NAMES

ALL = DOCUMENTS + KEYS + TARGETS_AND_NAMES + RUNNING + FILES


def write(room: Path, text: str | bytes) -> Path:
    path = room / "m.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_manifest_that_the_wrong_ones_vary_is_right(tmp_path: Path) -> None:
    check(load(write(furnish(tmp_path / "room"), GOOD)))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("wrong", ALL, ids=lambda wrong: wrong.name)
def test_a_wrong_manifest_is_refused_with_file_line_key_and_help(wrong: Wrong, tmp_path: Path) -> None:
    room = furnish(tmp_path / "room")
    path = write(room, wrong.text)
    if wrong.arrange:
        wrong.arrange(room)
    with pytest.raises(ManifestError) as caught:
        check(load(path))
    error = caught.value
    assert (error.path.name, error.line, error.key) == (wrong.file, wrong.line, wrong.key), str(error)
    assert [words for words in wrong.says if words not in error.problem] == [], str(error)
    location = str(error.path) if error.line is None else f"{error.path}:{error.line}"
    assert str(error) == ": ".join(part for part in (location, error.key, error.problem) if part)
    assert "\n" not in str(error)
    assert len(str(error)) < 700


def test_no_two_rows_have_the_same_name() -> None:
    assert len({wrong.name for wrong in ALL}) == len(ALL) >= 60


PIECES = st.sampled_from(
    [*":{}[],-&*!|>'\"%@#?~0.e", "\n", "\t", "\n  ", ": ", "- ", "null", "1e3", "no", "é", "\u2028", "\x00"]
)
EDITS = st.lists(
    st.tuples(st.integers(0, len(EVERYTHING)), st.integers(0, 12), PIECES | st.just("")), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_a_damaged_manifest_is_read_or_refused_within_itself(edits: list[tuple[int, int, str]], tmp_path: Path) -> None:
    text = EVERYTHING
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    path = write(tmp_path, text)
    try:
        assert load(path).targets
    except ManifestError as error:
        assert error.problem
        assert error.line is not None
        assert 1 <= error.line <= text.count("\n") + 1
