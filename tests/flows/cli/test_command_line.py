"""What holds for every verb: help, version, errors for people and for programs, terminals that know few characters."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.app import VERBS, main
from tests.flows.conftest import ROOT, quantmill, room

Told = pytest.CaptureFixture[str]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)], ids=lambda verb: "".join(verb) or "none")
def test_every_verb_says_what_it_takes(verb: list[str], flag: str, capsys: Told) -> None:
    assert main([*verb, flag]) == 0
    assert f"Usage: quantmill{''.join(f' {word}' for word in verb)}" in capsys.readouterr().out


def test_no_first_sentence_is_cut_off_in_the_list_of_verbs(capsys: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["-h"])
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


def test_it_says_which_version_it_is(capsys: Told) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("quantmill 0.")


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        (["plan"], "MissingParameter", "Missing argument 'MANIFESTS...'"),
        (["plan", "m.yaml", "--sing"], "NoSuchOption", "--sing"),
        (["pln", "m.yaml"], "NoSuchCommand", "Did you mean 'plan'?"),
        (["plan", "m.yaml", "--debug"], "NoSuchOption", "quantmill --debug"),
        (["plan", "absent.yaml"], "ManifestError", "no such file"),
        (["run", "absent.yaml"], "ManifestError", "no such file"),
        (["report", "absent.yaml"], "ManifestError", "no such file"),
        (["show", "acme/absent"], "PublishError", "acme/absent"),
        (["diff", "acme/a", "acme/b"], "PublishError", "acme/a"),
        (["pull", "acme/absent"], "PublishError", "acme/absent"),
        (["verify", "acme/absent"], "PublishError", "acme/absent"),
        (["verify", "absent"], "UsageError", "is not the name of a release"),
        (["rebuild", "acme/absent"], "PublishError", "acme/absent"),
        (["rollback", "acme/absent"], "UsageError", "name the version"),
        (["deploy", "absent"], "UsageError", "is not a directory"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_a_paragraph_or_one_json_object(
    command: list[str], kind: str, words: str, capsys: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    people = capsys.readouterr()
    assert people.out == ""
    assert words in people.err
    assert main([*command, "--json"]) == 2
    programs = capsys.readouterr()
    assert programs.err == ""
    told = json.loads(programs.out)
    assert (told["kind"], told["exit_code"]) == (kind, 2)
    assert words in told["error"]


def test_an_error_nobody_foresaw_has_its_traceback_when_asked_for(
    capsys: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprised(*_: object) -> None:
        raise LookupError("nobody foresaw this")

    monkeypatch.setattr("publishers.destinations.local.Local.releases", surprised)
    assert main(["list", "--home", str(tmp_path)]) == 3
    told = capsys.readouterr().err
    assert told.startswith("Error: LookupError: nobody foresaw this\n")
    assert "quantmill --debug" in told
    assert main(["--debug", "list", "--home", str(tmp_path)]) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_is_told(tmp_path: Path) -> None:
    fifo = tmp_path / "waits"
    os.mkfifo(fifo)
    program = (
        "import sys, flows.cli.app as app\n"
        "from publishers.destinations.local import Local\n"
        f"Local.releases = lambda self: open({str(fifo)!r}).read()\n"
        "sys.exit(app.main(['list']))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with fifo.open("w"):  # returns when the child has come there
        child.send_signal(signal.SIGINT)
        assert child.stderr
        told = child.stderr.read()
    assert child.wait() == 130
    assert told.startswith("Interrupted: what was finished is kept")


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_what_a_terminal_cannot_show_is_shown_by_near_characters(terminal: dict[str, str], tmp_path: Path) -> None:
    ran = quantmill("plan", room(tmp_path), home=tmp_path / "home", cwd=None, **terminal)
    assert (ran.code, ran.stderr) == (0, "")
    assert "texts > baseline > quantize" in ran.stdout


def test_several_targets_are_chosen(tmp_path: Path, capsys: Told) -> None:
    manifest, home = str(room(tmp_path)), str(tmp_path / "home")
    assert main(["plan", manifest, "--target", "int8", "--target", "nf4", "--json", "--home", home]) == 0
    assert [row["target"] for row in json.loads(capsys.readouterr().out)["jobs"]] == ["int8", "nf4"]
    assert main(["plan", manifest, "--target", "int8", "--target", "nf5", "--home", home]) == 2
    assert "did you mean 'nf4'?" in capsys.readouterr().err
