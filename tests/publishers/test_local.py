"""The local hub: found by name, versions that stay, and whole whatever was killed when."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download

from publishers.destinations.destination import Release
from publishers.destinations.local import Local
from publishers.errors import PublishError
from publishers.provenance import content_id
from publishers.pull import pull
from publishers.request import Subject
from publishers.stage import stage
from publishers.verify import verify
from tests.publishers.conftest import hashes


def put(subject: Subject, home: Path, scratch: Path) -> Release:
    local = Local("", home)
    published = local.publish(stage(subject, scratch, home))
    return local.find(subject.name, published.version)


def rolled_back(home: Path, name: str, version: str) -> Release:
    local = Local("", home)
    local.rollback(local.find(name, version))
    return local.find(name, version)


def changed(subject: Subject, recipe: dict[str, object]) -> Subject:
    return subject.model_copy(update={"recipe": {**subject.recipe, **recipe}})


def test_client_finds_it_by_name_version_and_commit(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "stage")
    expected = hashes(release.directory)
    assert expected.items() >= subject.files.items()
    assert {"README.md", "quantmill.json", "LICENSE", "NOTICE.txt"} <= expected.keys()
    for revision in (None, "main", "v1", release.commit):
        snapshot = snapshot_download(subject.name, revision=revision, cache_dir=home / "hub", local_files_only=True)
        assert hashes(Path(snapshot)) == expected
    assert (home / "hub/models--acme--demo-int4/refs/v1").read_bytes() == release.commit.encode()
    assert release.commit == content_id(expected)


def test_client_sees_a_clean_cache(subject: Subject, home: Path, tmp_path: Path) -> None:
    put(subject, home, tmp_path / "one")
    put(changed(subject, {"group_size": 32}), home, tmp_path / "two")
    cache = scan_cache_dir(home / "hub")
    assert cache.warnings == []
    [repository] = cache.repos
    assert {ref for revision in repository.revisions for ref in revision.refs} == {"main", "v1", "v2"}


def test_same_bits_are_the_same_version_and_other_bits_the_next(subject: Subject, home: Path, tmp_path: Path) -> None:
    first = put(subject, home, tmp_path / "1")
    again = put(subject, home, tmp_path / "2")
    assert again == first
    second = put(changed(subject, {"group_size": 32}), home, tmp_path / "3")
    assert (second.version, second.current) == ("v2", True)
    assert [(r.version, r.commit, r.current) for r in Local("", home).releases()] == [
        ("v1", first.commit, False),
        ("v2", second.commit, True),
    ]
    assert Local("", home).find(subject.name) == second


def test_versions_share_the_weights(subject: Subject, home: Path, tmp_path: Path) -> None:
    first = put(subject, home, tmp_path / "1")
    second = put(changed(subject, {"group_size": 32}), home, tmp_path / "2")
    weights = [(r.directory / "model.safetensors").resolve() for r in (first, second)]
    assert weights[0] == weights[1]


def test_tenth_version_follows_the_ninth(subject: Subject, home: Path, tmp_path: Path) -> None:
    for number in range(1, 12):
        release = put(changed(subject, {"group_size": number}), home, tmp_path / str(number))
    assert release.version == "v11"
    assert [r.version for r in Local("", home).releases()][-3:] == ["v9", "v10", "v11"]


def test_rollback_moves_main_and_no_version(subject: Subject, home: Path, tmp_path: Path) -> None:
    first = put(subject, home, tmp_path / "1")
    newer = changed(subject, {"group_size": 32})
    second = put(newer, home, tmp_path / "2")
    assert rolled_back(home, subject.name, "v1").current
    assert Local("", home).find(subject.name).version == "v1"
    assert put(newer, home, tmp_path / "3").commit == second.commit
    assert Local("", home).find(subject.name).version == "v1", "publishing what is there already undoes no rollback"
    third = put(changed(subject, {"group_size": 16}), home, tmp_path / "4")
    assert Local("", home).find(subject.name).version == third.version == "v3"
    assert Local("", home).find(subject.name, "v1").commit == first.commit


def test_damage_is_repaired_by_publishing_again(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "1")
    weights = (release.directory / "model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    (release.directory / "config.json").unlink()
    with pytest.raises(PublishError, match=r"config\.json is missing.*model\.safetensors has SHA-256"):
        verify(Local("", home), subject.name)
    assert put(subject, home, tmp_path / "2") == release
    assert verify(Local("", home), subject.name).commit == release.commit


def test_foreign_models_in_the_cache_are_not_releases(subject: Subject, home: Path, tmp_path: Path) -> None:
    put(subject, home, tmp_path / "1")
    foreign = home / "hub/models--someone--else"
    (foreign / "refs").mkdir(parents=True)
    (foreign / "snapshots" / ("b" * 40)).mkdir(parents=True)
    (foreign / "refs/v1").write_text("b" * 40)
    assert [release.name for release in Local("", home).releases()] == [subject.name]


def test_unknown_names_and_versions_say_what_there_is(subject: Subject, home: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="it holds 0 others"):
        Local("", home).find(subject.name)
    put(subject, home, tmp_path / "1")
    with pytest.raises(PublishError, match=r"did you mean acme/demo-int4\?"):
        Local("", home).find("acme/demo-int8")
    with pytest.raises(PublishError, match=r"no version 'v7' in the local hub\. It has v1"):
        Local("", home).find(subject.name, "v7")


def test_listing_is_fast_and_free_of_torch(subject: Subject, home: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    put(subject, home, tmp_path / "1")
    code = (
        "import sys, pathlib; from publishers.destinations.local import Local\n"
        f"assert len(Local('', pathlib.Path({str(home)!r})).releases()) == 1\n"
        "print([m for m in ('torch', 'transformers', 'prefect') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


def test_released_files_are_read_only(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "1")
    modes = {path.stat().st_mode & 0o777 for path in release.directory.iterdir()}
    assert modes == {0o444}


def test_pull_checks_copies_and_replaces_nothing(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "1")
    for _ in range(2):
        pulled = pull(Local("", home), subject.name, "v1", tmp_path / "pulled")
        assert hashes(tmp_path / "pulled") == pulled.files == hashes(release.directory)
    assert not any(path.is_symlink() for path in (tmp_path / "pulled").rglob("*"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    with pytest.raises(PublishError, match="holds something else already"):
        pull(Local("", home), subject.name, "v1", tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert pull(Local("", home), subject.name, "v1", tmp_path / "empty").directory == tmp_path / "empty"


def test_pull_hands_over_nothing_that_was_changed(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "1")
    (release.directory / "modeling.py").write_text("import os")
    for to in (None, tmp_path / "pulled"):
        with pytest.raises(PublishError, match=r"modeling\.py is no part of the release"):
            pull(Local("", home), subject.name, None, to)
    assert not (tmp_path / "pulled").exists()


def test_damaged_release_is_listed_and_named(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "1")
    (release.directory / "quantmill.json").resolve().unlink()
    assert [listed.version for listed in Local("", home).releases()] == ["v1"]
    with pytest.raises(PublishError, match=r"holds no readable quantmill\.json"):
        verify(Local("", home), subject.name)


def test_changed_provenance_is_found_by_the_commit(subject: Subject, home: Path, tmp_path: Path) -> None:
    release = put(subject, home, tmp_path / "1")
    record = release.directory / "quantmill.json"
    text = record.read_text().replace('"kld"', '"klD"')
    record.unlink()
    record.write_text(text)
    with pytest.raises(PublishError, match="but it is filed under"):
        verify(Local("", home), subject.name)
