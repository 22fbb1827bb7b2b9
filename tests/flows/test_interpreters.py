"""Engines in interpreters of their own, without installing one: that takes gigabytes (`make test-itrex`)."""

import json
from pathlib import Path

import pytest

from catalog.errors import EnvironmentFault
from catalog.interpreters import ENGINES_VARIABLE, INTERPRETERS, RECORD, is_installed, python_of
from flows.cli.app import main
from flows.interpreters import install, listed, remove

ITREX = INTERPRETERS["itrex"]
Told = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENGINES_VARIABLE, raising=False)


def test_every_pin_is_one_version_with_its_hash() -> None:
    pins = [line for line in ITREX.pins[0].read_text().splitlines() if line and not line.startswith(("#", " "))]
    hashes = [line for line in ITREX.pins[0].read_text().splitlines() if line.startswith("    --hash=sha256:")]
    assert len(pins) == len(hashes) > 50 and all("==" in pin for pin in pins)


def test_what_is_missing_is_listed_with_the_command_that_installs_it(tmp_path: Path, capsys: Told) -> None:
    assert main(["engine", "list", "--json", "--home", str(tmp_path)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["engine"], row["state"], row["command"]) == ("itrex", "missing", "quantmill engine install itrex")
    assert main(["doctor", "--json", "--home", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["engines"] == {"itrex": "quantmill engine install itrex"}


def test_an_install_without_an_index_is_the_machines_fault_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    for name, value in {"NO_INDEX": "1", "CONFIG_FILE": "/dev/null", "FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    assert main(["engine", "install", "itrex", "--json", "--home", str(tmp_path)]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "NetworkFault" and "Nothing of it was left" in told["error"]
    assert list((tmp_path / "engines").iterdir()) == []


def test_what_was_made_from_other_pins_is_outdated_and_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "itrex"
    place.mkdir()
    (place / RECORD).write_text(json.dumps({"engine": "itrex", "version": "0" * 16}))
    assert listed(tmp_path)[0]["state"] == "outdated" and not is_installed("itrex", tmp_path)
    monkeypatch.setenv(ENGINES_VARIABLE, str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"other versions.*quantmill engine install itrex"):
        python_of("itrex")
    (place / RECORD).write_text(json.dumps({"engine": "itrex", "version": ITREX.identity}))
    assert install(ITREX, tmp_path) == place and python_of("itrex") == place / "bin" / "python"
    assert remove(ITREX, tmp_path) > 0 and list(tmp_path.iterdir()) == [] and remove(ITREX, tmp_path) == 0


def test_an_engine_that_is_none_is_told_with_those_that_are(capsys: Told) -> None:
    assert main(["engine", "install", "itrx"]) == 2
    assert "itrex" in capsys.readouterr().err
