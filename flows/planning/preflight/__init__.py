"""What is known to be wrong before any work: models, tokenizers, recipes, texts and tasks, each in a file of its own.

Headers, configurations, tokenizers, documents and the source of installed libraries are read; no weights, no torch, nothing of
the network. Every answer is worked out once per process for one state of the files, however many manifests ask.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from flows.manifest.model import Manifest
from flows.planning.preflight import configuration, files, recipe, structure, tokenizer
from flows.planning.preflight.files import State, Subject
from flows.planning.preflight.finding import Finding, Problem
from flows.planning.preflight.properties import check_properties
from flows.planning.preflight.texts import check_disjoint, check_documents, check_files
from flows.planning.sources import Original


def check(manifest: Manifest, *, allow_path: bool = False) -> None:
    """Raise ManifestError for the first local model or text that cannot be what the manifest says."""
    finding = Finding(manifest, allow_path)
    if manifest.directory:
        with finding.readable(("model", "source")):
            check_directory(finding, manifest.directory)
    for section in ("calibration", "evaluation"):
        with finding.readable((section, "files")):
            check_files(finding, section, getattr(manifest, section))
    for name, adapter in manifest.adapters.items():
        for section, texts in (("data", adapter.data), ("held_out", adapter.held_out)):
            at = ("adapters", name, section, "files")
            with finding.readable(at):
                check_documents(finding, at, texts)
    check_disjoint(finding, manifest)
    check_properties(finding)


def check_directory(finding: Finding, directory: Path) -> None:
    """Raise ManifestError when a directory holds no model, or one that the manifest's recipes do not fit."""
    key = ("model", "source")
    if not directory.is_dir():
        what = "is a file; name the directory it is in" if directory.exists() else "does not exist"
        raise finding.error(key, f"the model directory {directory} {what}")
    if finding.manifest.directory:
        for entry in sorted(directory.iterdir()):
            finding.keep_inside(key, entry)
    state = files.state_of(directory)
    if problem := files.problem(directory, state):
        raise finding.error(key, problem)
    check_model(finding, files.local(directory, state))


def check_original(manifest: Manifest, original: Original) -> None:
    """Raise ManifestError for a model of the Hub, as far as it is here: its files, or headers and configuration alone."""
    finding = Finding(manifest)
    if original.directory:
        with finding.readable(("model", "source")):
            check_directory(finding, original.directory)
    else:
        check_model(finding, files.remote(original))


def subject_of(original: Original) -> Subject:
    """Return the model that checks are about; of one that is here, the state of its files counts."""
    if original.directory is None:
        return files.remote(original)
    return files.local(original.directory, files.state_of(original.directory))


def check_model(finding: Finding, subject: Subject) -> None:
    """Raise ManifestError for a model that is not sound, or a recipe that does not fit it."""
    subject = replace(subject, task=finding.manifest.model.task)
    if problem := _of_model(subject):
        raise finding.error(("model", "source"), problem)
    for target in finding.manifest.targets.values():
        for number, rung in enumerate(target.rungs):
            if misfit := recipe.problem(subject, rung.recipe):
                raise finding.error_of(target.name, number, misfit)
            if (misfit := recipe.patterns(subject, rung.recipe)) and finding.writes(
                target.name, number, misfit.fields[0]
            ):
                raise finding.error_of(target.name, number, misfit)
        if misfit := recipe.search(subject, target):
            raise finding.error_of(target.name, 0, misfit)


@lru_cache(maxsize=1024)
def _of_model(subject: Subject) -> str | None:
    rules = (configuration.problem, structure.problem, tokenizer.problem)
    return next((problem for rule in rules if (problem := rule(subject))), None)


__all__ = ["Finding", "Problem", "State", "Subject", "check", "check_original"]
