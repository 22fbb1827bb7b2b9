"""What a release has risked: kept before anything is judged, spent once for the same verdict, never more than it may."""

import json
from pathlib import Path

import pytest

from catalog.errors import EnvironmentFault
from flows.planning.error_budget import spend, spending
from flows.planning.jobs import Job
from flows.store import Store
from tests.flows.conftest import room
from tests.flows.results import job_of


def ladder(tmp_path: Path, confidence: str = "95%", last: str = "w8-rtn-g128") -> tuple[Job, Store]:
    path = room(tmp_path / f"{last}-{confidence}")
    text = path.read_text().replace("int4: w4-rtn-g64\n", f"int4: {{ladder: [w4-rtn-g128, w4-rtn-g64, {last}]}}\n")
    path.write_text(text.replace("gates:\n", f"gates:\n  confidence: {confidence}\n"))
    return job_of(path, tmp_path / "home"), Store(tmp_path / "home")


def test_recipes_share_what_their_attempt_may_risk(tmp_path: Path) -> None:
    job, store = ladder(tmp_path)
    first, second, third = (spend(job, rung, f"bytes of {rung.name}", store) for rung in job.target.rungs)
    assert first == second == third == pytest.approx(0.05 / 2 / 3)
    assert len(spending(job.release, store).attempts) == 1 and spending(job.release, store).share == 0.5


def test_the_same_verdict_on_the_same_bytes_risks_nothing_new(tmp_path: Path) -> None:
    job, store = ladder(tmp_path)
    rung = job.target.rungs[0]
    first = spend(job, rung, "bytes", store)
    written = (store.home / "risk" / "demo--docstring-llama-int4.json").read_bytes()
    assert spend(job, rung, "bytes", Store(store.home)) == first  # after a run that was killed here, say
    assert (store.home / "risk" / "demo--docstring-llama-int4.json").read_bytes() == written


def test_other_bytes_other_recipes_and_other_tolerances_are_further_attempts(tmp_path: Path) -> None:
    job, store = ladder(tmp_path)
    other, _ = ladder(tmp_path, last="w8-rtn")
    assert other.release == job.release
    rung = job.target.rungs[0]
    taken = [
        spend(job, rung, "bytes", store),
        spend(job, rung, "other bytes", store),
        spend(other, rung, "bytes", store),
    ]
    assert taken == pytest.approx([0.05 / 2 / 3, 0.05 / 6 / 3, 0.05 / 12 / 3])
    assert spend(job, rung, "other bytes", store) == pytest.approx(taken[1])
    assert spend(job, job.target.rungs[1], "more", store) == pytest.approx(taken[0])


def test_however_often_it_is_tried_no_more_is_risked_than_may_be(tmp_path: Path) -> None:
    job, store = ladder(tmp_path, "90%")
    taken = [spend(job, job.target.rungs[0], f"bytes of night {night}", store) for night in range(200)]
    assert sum(taken) * 3 == pytest.approx(0.1 * 200 / 201)
    assert spending(job.release, store).share < 1


def test_a_ladder_has_keys_of_its_own_and_a_single_recipe_keeps_its_key(tmp_path: Path) -> None:
    job, store = ladder(tmp_path)
    single = job_of(room(tmp_path / "single"), store.home)
    assert job.verdict(job.target.rungs[1]).inputs["recipes"] == 3
    assert "recipes" not in single.verdict(single.target.rungs[0]).inputs


def test_a_damaged_ledger_stops_judging_and_says_what_to_do(tmp_path: Path) -> None:
    job, store = ladder(tmp_path)
    path = store.home / "risk" / "demo--docstring-llama-int4.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"attempts": 3}))
    with pytest.raises(EnvironmentFault, match="restore it from a backup, or remove it"):
        spend(job, job.target.rungs[0], "bytes", store)
    assert json.loads(path.read_text()) == {"attempts": 3}
