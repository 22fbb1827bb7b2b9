"""The directories and the database that runs start their Prefect servers with."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from flows.server import _is_whole, _keep, _own_directory
from tests.flows.conftest import ROOT

HOLDER = """
import sys
from pathlib import Path
from flows.server import _own_directory
with _own_directory(Path(sys.argv[1])) as own:
    print(own, flush=True)
    sys.stdin.read()
"""


def test_a_run_has_a_directory_of_its_own_and_removes_those_of_runs_that_were_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdin
        theirs = Path(other.stdout.readline().strip())
        with _own_directory(tmp_path) as ours:
            assert ours != theirs and theirs.is_dir()
        assert theirs.is_dir() and not ours.exists()
        other.kill()
        other.wait()
        assert theirs.is_dir(), "it had no time to clean up"
    with _own_directory(tmp_path):
        assert not theirs.exists()


def test_a_database_is_copied_while_it_is_in_use_and_a_damaged_copy_is_not_believed(tmp_path: Path) -> None:
    live, template = tmp_path / "run.db", tmp_path / "template" / "3.db"
    template.parent.mkdir()
    with closing(sqlite3.connect(live)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE flow (name TEXT)")
        database.executemany("INSERT INTO flow VALUES (?)", [(str(n) * 50,) for n in range(1000)])
        database.commit()
        _keep(live, template)
    assert _is_whole(template)
    with closing(sqlite3.connect(template)) as copied:
        assert copied.execute("SELECT count(*) FROM flow").fetchone() == (1000,)
    template.write_bytes(template.read_bytes()[:5000])
    assert not _is_whole(template)
    _keep(live, template)
    assert _is_whole(template)
    assert [path.name for path in template.parent.iterdir()] == ["3.db"]
