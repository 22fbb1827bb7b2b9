"""Training by the door: what one process reaches, two reach, and one that was killed does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from adapters.backends import is_here
from adapters.entrypoint import run
from adapters.errors import AdapterError
from adapters.recipe import Recipe
from adapters.request import Base, Trained, TrainRequest
from adapters.worker import join
from catalog.errors import EnvironmentFault
from tests.adapters.conftest import functions, written
from tests.releases import MODEL, ROOT

STEPS = 4
RECIPE = Recipe(rank=4, alpha=8, steps=STEPS, batch=4, micro_batch=2, tokens=64, learning_rate=0.005)


@pytest.fixture(scope="module")
def request_(nf4: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    documents = written(tmp_path_factory.mktemp("texts") / "train.jsonl", functions(8, 0))
    base = Base(directory=nf4, name="acme/demo-nf4", revision="a" * 40)
    return TrainRequest(base=base, documents=documents, recipe=RECIPE)


@pytest.fixture(scope="module")
def undisturbed(request_: TrainRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """One process that nobody disturbs, and its adapter."""
    out = tmp_path_factory.mktemp("undisturbed")
    trained = run(request_, out)
    assert isinstance(trained, Trained)
    return trained, out / "adapter"


def door(request: TrainRequest, out: Path) -> subprocess.Popen[str]:
    path = out.with_suffix(".json")
    path.write_text(request.model_dump_json())
    command = [sys.executable, "-m", "adapters", str(path), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_the_loss_falls_and_the_adapter_names_its_base(undisturbed: tuple[Trained, Path], request_) -> None:
    trained, adapter = undisturbed
    assert len(trained.losses) == STEPS and trained.losses[-1] < trained.losses[0] - 0.5
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/demo-nf4", "a" * 40)
    assert config["target_modules"] == sorted(trained.modules) and len(trained.modules) == 7
    files = {path.name for path in adapter.iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}
    assert str(request_.base.directory) not in (adapter / "adapter_config.json").read_text()


def at_step(step: int, process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until a training has done so many steps; return the processes below it."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith('{"progress"') and json.loads(line)["progress"]["done"] == step:
            return psutil.Process(process.pid).children(recursive=True)
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
def test_two_processes_that_are_killed_leave_none_and_reach_the_loss_of_one(
    undisturbed, request_, tmp_path: Path
) -> None:
    two = request_.model_copy(update={"recipe": RECIPE.model_copy(update={"processes": 2})})
    assert (two.recipe.accumulation, RECIPE.accumulation, two.backend) == (1, 2, "gloo")
    out = tmp_path / "out"
    one_of_two = door(two, out)
    workers = at_step(1, one_of_two)
    next(worker for worker in workers if "adapters.worker" in worker.cmdline()).kill()
    assert "catalog.errors.KilledFault: one of the processes" in one_of_two.communicate()[1]
    process = door(two, out)
    workers = at_step(STEPS // 2 + 1, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (out / "result.json").exists()
    assert len(workers) >= 2 and psutil.wait_procs(workers, timeout=10)[1] == []
    assert any(path.name == f"checkpoint-{STEPS // 2}" for path in (out / ".work/checkpoints").iterdir())
    again = door(two, out)
    told, said = again.communicate()
    assert again.returncode == 0, said
    assert f'"done": {STEPS // 2}, ' not in told, "it began anew"
    trained = Trained.model_validate_json((out / "result.json").read_bytes())
    assert trained.losses == pytest.approx(undisturbed[0].losses, abs=1e-4)


def test_a_training_that_is_cut_short_goes_on_to_the_same_bits(
    undisturbed, request_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(what: str, done: int, total: int) -> None:
        if done == STEPS // 2 + 1:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("adapters.worker.report", cut)
        run(request_, out)
    checkpoints = out / ".work/checkpoints"
    (checkpoints / f"checkpoint-{STEPS - 1}").mkdir()  # one that was being written
    trained = run(request_, out)
    assert isinstance(trained, Trained)
    assert trained.losses == pytest.approx(undisturbed[0].losses, abs=1e-6)
    weights = [(place / "adapter_model.safetensors").read_bytes() for place in (out / "adapter", undisturbed[1])]
    assert weights[0] == weights[1]
    assert not (out / ".work").exists()


def test_products_in_bfloat16_reach_nearly_the_same_loss(undisturbed, request_, tmp_path: Path) -> None:
    trained = run(request_.model_copy(update={"compute": "bfloat16"}), tmp_path / "out")
    assert isinstance(trained, Trained) and trained.compute == "bfloat16"
    assert trained.losses != undisturbed[0].losses
    assert trained.losses == pytest.approx(undisturbed[0].losses, abs=0.05)


def test_what_cannot_be_trained_is_refused(request_, tmp_path: Path) -> None:
    def refused(**changes: object) -> str:
        with pytest.raises(AdapterError) as error:
            run(request_.model_copy(update=changes), tmp_path / "out")
        return str(error.value)

    if not is_here("ccl"):
        with pytest.raises(EnvironmentFault, match="oneccl_bindings_for_pytorch, which is not installed"):
            join("ccl")
    plain = request_.base.model_copy(update={"directory": MODEL})
    assert "not stored in 4 bits" in refused(base=plain)
    wrong = RECIPE.model_copy(update={"target_modules": ("q_proj", "query")})
    assert "query ends the name of no linear" in refused(recipe=wrong)
    assert "a step reads 4 rows of 64" in refused(documents=written(tmp_path / "short.jsonl", ["def f(x): pass"]))
    with pytest.raises(ValueError, match="no multiple of the 4 rows"):
        Recipe(batch=6, micro_batch=2, processes=2)
