import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.execution import lock
from flows.execution.lock import heavy
from flows.execution.progress import Nobody, watched_by
from flows.store import Store
from tests.flows.conftest import ROOT

HOLDER = """
import sys
from pathlib import Path
from flows.execution.lock import heavy
from flows.store import Store
with heavy(Store(Path(sys.argv[1])), "model: baseline"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Patient(Nobody):
    """Lets the holder die after the second word."""

    def __init__(self, holder: "subprocess.Popen[str]") -> None:
        self.holder = holder
        self.told: list[str] = []

    def waiting(self, holder: str) -> None:
        self.told.append(holder)
        if len(self.told) == 2:
            self.holder.send_signal(signal.SIGKILL)


def test_who_waits_is_told_for_whom_at_once_and_again_until_the_holder_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "AGAIN", 0.1)
    monkeypatch.setattr(lock, "LOOK", 0.1)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        who = Patient(holder)
        with watched_by(who), heavy(Store(tmp_path), "ours"):
            assert holder.wait() == -signal.SIGKILL
    assert len(who.told) >= 2
    assert f"process {holder.pid} on " in who.told[0]
    assert "model: baseline since 2" in who.told[0]
    assert str(tmp_path) in who.told[0], "the command"


def test_a_note_of_the_holder_that_cannot_be_read_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy.json").write_text('{"pid":')
    with heavy(Store(tmp_path), "ours"):
        assert lock._holder(tmp_path / "heavy.json")
    assert not (tmp_path / "heavy.json").exists()
