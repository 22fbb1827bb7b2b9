import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import BaseModel

from catalog.errors import EnvironmentFault, Fault, InputError, KilledFault, StepFault
from catalog.processes import HUGE_PAGES
from flows.execution import child, warm
from flows.execution.warm import Forked

ROOT = Path(__file__).parents[2]
DOORS = {
    "good": "import json,sys; print('chatter'); print(json.dumps({'progress': {'what': 'x', 'done': 1, 'total': 2}}))\n"
    "open(sys.argv[2] + '/result.json', 'w').write('{}')",
    "quiet": "pass",
    "breaks": "raise RuntimeError('it broke')",
    "refuses": "from refusing.words import Refusal\nraise Refusal('the input is wrong')",
    "poses": "from refusing.errors import Refusal\nraise Refusal('it is no error of ours')",
    "crashes": "import os; os.kill(os.getpid(), 11)",
    "aborts": "import os; os.write(2, b'memory allocation of 9 bytes failed\\n'); os.abort()",
    "starves": "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); bytearray(2 << 30)",
    "lacks": "import no_such_package",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "sees": "import json,os,sys\nopen(sys.argv[2] + '/result.json', 'w').write(json.dumps(dict(os.environ)))",
    "fat": "import sys; x = bytearray(300_000_000); open(sys.argv[2] + '/result.json', 'w').write('{}')",
    "sleeps": "import time; time.sleep(60)",
}

WAYS_TO_FAIL: list[tuple[str, type[Fault], str]] = [
    ("breaks", StepFault, "RuntimeError: it broke"),
    ("poses", StepFault, "Refusal: it is no error of ours"),
    ("refuses", InputError, "the input is wrong"),
    ("killed", KilledFault, "signal 9.*counts no process that it ended for want of memory"),
    ("crashes", StepFault, "SIGSEGV"),
    ("aborts", EnvironmentFault, "SIGABRT.*memory allocation of 9 bytes failed"),
    ("starves", EnvironmentFault, "memory ran out"),
    ("lacks", EnvironmentFault, "package is missing.*no_such_package"),
    ("quiet", StepFault, "without a result"),
]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in DOORS.items():
        (tmp_path / f"door_{name}.py").write_text(text)
    (tmp_path / "refusing").mkdir()
    (tmp_path / "refusing" / "__init__.py").touch()
    (tmp_path / "refusing" / "words.py").write_text(
        "from catalog.errors import InputError\nclass Refusal(InputError): pass"
    )
    (tmp_path / "refusing" / "errors.py").write_text("class Refusal(ValueError): pass")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(child, "_PATH", f"{ROOT}{os.pathsep}{tmp_path}")
    return tmp_path


class Asked(BaseModel):
    a: int = 1


def run(scratch: Path, door: str, **options: Any) -> tuple[child.Ended, list[tuple[str, int, int]]]:
    seen: list[tuple[str, int, int]] = []
    ended = child.run(f"door_{door}", Asked(), scratch, progress=lambda *event: seen.append(event), **options)
    return ended, seen


def test_progress_is_passed_on_and_chatter_goes_to_the_log(scratch: Path) -> None:
    _, seen = run(scratch, "good")
    assert seen == [("x", 1, 2)]
    assert "chatter" in (scratch / "log.txt").read_text()
    assert json.loads((scratch / "request.json").read_text()) == {"a": 1}


@pytest.mark.parametrize(("door", "kind", "words"), WAYS_TO_FAIL)
def test_every_way_to_fail_is_told_apart(scratch: Path, door: str, kind: type[Fault], words: str) -> None:
    with pytest.raises(Fault, match=words) as caught:
        run(scratch, door)
    assert type(caught.value) is kind
    assert caught.value.log == scratch / "log.txt"


def test_only_steps_that_need_them_see_the_network_and_the_token(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    run(scratch, "sees")
    offline = json.loads((scratch / "out" / "result.json").read_text())
    assert "HF_TOKEN" not in offline
    assert offline["HF_HUB_OFFLINE"] == "1"
    run(scratch, "sees", network="token")
    online = json.loads((scratch / "out" / "result.json").read_text())
    assert online["HF_TOKEN"] == "hf_secret"
    assert online["HF_HUB_OFFLINE"] == "0"
    run(scratch, "sees", network="read")
    reading = json.loads((scratch / "out" / "result.json").read_text())
    assert "HF_TOKEN" not in reading
    assert reading["HF_HUB_OFFLINE"] == "0"


def test_peak_memory_is_the_childs_and_not_what_it_was_forked_from(scratch: Path) -> None:
    ours = bytearray(500_000_000)
    ended, _ = run(scratch, "fat")
    assert len(ours) > ended.peak_memory_bytes
    assert 300_000_000 < ended.peak_memory_bytes < 400_000_000
    assert 0 < ended.cpu_seconds <= 2 * ended.seconds


def test_a_child_that_the_kernel_ended_for_want_of_memory_says_so(
    scratch: Path, memory_group: Callable[[int], Path]
) -> None:
    group = memory_group(200_000_000)
    program = (
        f"from pathlib import Path\nPath({str(group / 'cgroup.procs')!r}).write_text('0')\n"
        "from pydantic import create_model\nfrom flows.execution import child\n"
        f"child._PATH = {child._PATH!r}\n"
        f"child.run('door_fat', create_model('Nothing')(), Path({str(scratch)!r}), progress=lambda *event: None)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert "KilledFault: the step's process was killed by the kernel because memory ran out" in ran.stderr, ran.stderr


@pytest.mark.parametrize("imports", [False, True])
def test_a_child_dies_with_its_parent(scratch: Path, imports: bool) -> None:
    program = (
        "from pathlib import Path\nfrom pydantic import create_model\nfrom flows.execution import child\n"
        f"child._PATH = {child._PATH!r}\n"
        f"child.run('door_sleeps', create_model('Nothing')(), Path({str(scratch)!r}), progress=lambda *event: None, "
        f"imports={imports})"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    deadline = time.monotonic() + 60
    children: list[psutil.Process] = []
    while len(children) < 1 + imports and time.monotonic() < deadline:
        time.sleep(0.05)
        children = psutil.Process(parent.pid).children(recursive=True)
    time.sleep(0.5)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert len(children) == 1 + imports
    assert alive == []


def test_steps_that_import_much_are_forked_from_one_process(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[Forked] = []

    def noted(*asked: Any) -> Forked | None:
        forked.append(fork(*asked))
        return forked[-1]

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fork: Any = warm.fork
    monkeypatch.setattr(warm, "fork", noted)
    (scratch / "door_imported.py").write_text(
        "import sys, os, json\n"
        "told = {'torch': 'torch' in sys.modules, 'parent': os.getppid(), **os.environ, 'directory': os.getcwd()}\n"
        "print('chatter', file=sys.stderr)\n"
        "open(sys.argv[2] + '/result.json', 'w').write(json.dumps(told))"
    )
    said = []
    for value in ("1", "2"):
        monkeypatch.setenv("PREFECT_SAID", value)
        run(scratch, "imported", imports=True)
        said.append(json.loads((scratch / "out" / "result.json").read_text()))
    assert all(told["torch"] and told["directory"] == str(scratch) for told in said)
    assert [told["PREFECT_SAID"] for told in said] == ["1", "2"]
    assert said[0]["parent"] == said[1]["parent"] != os.getpid()
    assert "QUANTMILL_PARENT" not in said[0]
    assert "hf_secret" not in [*said[0].values(), *psutil.Process(said[0]["parent"]).environ().values()]
    assert (scratch / "log.txt").read_text().count("chatter") == 2
    (scratch / "out" / "result.json").unlink()
    for door, kind, words in WAYS_TO_FAIL:
        with pytest.raises(Fault, match=words) as caught:
            run(scratch, door, imports=True)
        assert type(caught.value) is kind, door
    assert all(forked)
    os.kill(said[0]["parent"], signal.SIGKILL)
    run(scratch, "imported", imports=True)
    assert json.loads((scratch / "out" / "result.json").read_text())["parent"] != said[0]["parent"]


def test_a_variable_that_libraries_read_is_read_anew(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = warm.Template({"HF_HOME": "a", "PREFECT_API_URL": "b"})
    assert template.serves({"HF_HOME": "a", "QUANTMILL_PARENT": "1"})
    assert not template.serves({"HF_HOME": "c", "PREFECT_API_URL": "b"})
    template.close()
    assert not template.serves({"HF_HOME": "a", "PREFECT_API_URL": "b"})


def test_steps_ask_for_huge_pages(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not given.is_file() or "[never]" in given.read_text():
        pytest.skip("this system gives none")
    monkeypatch.delenv(HUGE_PAGES, raising=False)
    (scratch / "door_large.py").write_text(
        "import sys, torch\n"
        "held = torch.ones(1 << 24)\n"
        "lines = open('/proc/self/smaps_rollup').read().splitlines()\n"
        "huge = next(line.split()[1] for line in lines if line.startswith('AnonHugePages'))\n"
        "open(sys.argv[2] + '/result.json', 'w').write(huge)"
    )
    run(scratch, "large", imports=True)
    assert int((scratch / "out" / "result.json").read_text()) > 32_000, "kB, of 64 MB"


def test_every_door_asks_for_huge_pages() -> None:
    doors = ("adapters", "gates", "quantizers")
    said = f"import os, importlib\nfor door in {doors}:\n os.environ.pop({HUGE_PAGES!r}, None)\n"
    said += f" importlib.import_module(door + '.__main__')\n print(os.environ.get({HUGE_PAGES!r}))"
    told = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1"] * len(doors)
