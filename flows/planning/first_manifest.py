"""A first manifest for a model: written, tried as `plan` would try it, and left as its author goes on from."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import NamedTemporaryFile

from catalog.architectures import is_lone
from catalog.errors import EnvironmentFault, Fault, NetworkFault
from catalog.sentence_transformers import LIST
from catalog.task import KINDS as KIND_WORDS
from catalog.task import Task
from catalog.tasks import TASKS, tasks_for
from flows.errors import UsageError
from flows.manifest.names import fault
from flows.planning.cost import weights_bytes
from flows.planning.machine import refuse_unfit
from flows.planning.plan import Plan, plan, read
from flows.planning.preflight.installed import architectures
from flows.store import Store
from gates.spec import KINDS

# For each target the presets to try, the best first, and what a comment says of it.
CANDIDATES: dict[str, tuple[tuple[str, ...], str]] = {
    "int8": (("w8-rtn-g128", "w8-rtn"), "near-lossless; half the size on disk"),
    "int4": (
        (
            *("w4-awq-compensated-asym-g64", "w4-awq-compensated-asym-g32"),
            *("w4-compensated-asym-g64", "w4-rtn-asym-g64", "w4-rtn-asym-g32"),
        ),
        "four bits for transformers and vLLM",
    ),
    "nf4": (("nf4",), "four bits for bitsandbytes, the base of QLoRA; small in memory, too"),
    "ov-int8": (("ov-w8-rtn", "ov-w8"), "OpenVINO IR, near-lossless; the fastest on a CPU"),
    "ov-int4": (
        ("ov-w4-awq-compensated-asym-g64", "ov-w4-rtn-asym-g64", "ov-w4-asym-g64", "ov-w4-g32"),
        "OpenVINO IR in four bits",
    ),
}
DEFAULT_TASK = "text-generation"
_TEXTS = {"calibration": 2_000_000, "evaluation": 400_000}
"""Characters of each text that is made of the standard library's documentation, at the most."""


@dataclass(frozen=True)
class First:
    """A manifest that was written."""

    path: Path
    targets: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """Targets that `plan` refuses, and why."""
    allow_path: bool
    """Whether its model lies outside its directory, so that --allow-path is needed."""


def first_manifest(source: str, to: Path | None, store: Store) -> First:
    """Write a manifest for a model, with every candidate that `plan` accepts here.

    Raises:
        UsageError: the file is there already, or the model's name cannot be that of a release.
        Fault: what `plan` says of every candidate, when it accepts none.
    """
    local = Path(source).expanduser()
    name = (local.resolve().name if local.is_dir() else source.rstrip("/").rsplit("/", 1)[-1]) or source
    path = (to or Path(f"{name}.yaml")).absolute()
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already, and is left as it is: name another file with --to")
    if problem := fault(name):
        raise UsageError(f"{name!r}, the model's name, {problem}: rename the directory, or write the manifest by hand")
    path.parent.mkdir(parents=True, exist_ok=True)
    written, allow_path = source, False
    if local.is_dir():
        inside = local.resolve().is_relative_to(path.parent.resolve())
        written = f"./{local.resolve().relative_to(path.parent.resolve())}" if inside else str(local.resolve())
        allow_path = not inside
    task = task_of_directory(local) if local.is_dir() else DEFAULT_TASK
    said = "" if task == DEFAULT_TASK else f", task: {task}"
    draft = _Draft(path, f"model: {{source: {json.dumps(written)}{said}}}\n", allow_path, store)
    texts = _texts(draft, TASKS[task])
    chosen, left_out = _choose(draft, texts)
    with path.open("x", encoding="utf-8") as file:
        file.write(_manifest(draft.model, task, texts, chosen))
    return First(path, tuple(chosen), tuple(left_out), allow_path)


def task_of_directory(directory: Path) -> str:
    """What the head that config.json names is made for; a body without one embeds texts if it is an encoder's."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
        (named, *_), kind = config["architectures"], config["model_type"]
    except (OSError, ValueError, LookupError, TypeError):  # told when targets are tried
        return DEFAULT_TASK
    able = (task for task in tasks_for(str(named)) if kind in (architectures(TASKS[task].mapping) or (kind,)))
    task = next(able, DEFAULT_TASK)
    encoders = architectures(TASKS["fill-mask"].mapping) or {}
    if task == "feature-extraction" and not (kind in encoders or is_lone((named,)) or (directory / LIST).is_file()):
        return DEFAULT_TASK
    return task


@dataclass(frozen=True)
class _Draft:
    """What is tried, in a file beside the one that is to be written."""

    path: Path
    model: str
    allow_path: bool
    store: Store

    def planned(self, text: str) -> Plan:
        """Return what `plan` makes of a manifest. Raises Fault."""
        with NamedTemporaryFile("w", dir=self.path.parent, prefix=".", suffix=".yaml", encoding="utf-8") as file:
            file.write(self.model + text)
            file.flush()
            todo = plan(read([Path(file.name)], allow_path=self.allow_path), self.store)
            refuse_unfit(todo, self.store.home)
        return todo


def _choose(draft: _Draft, texts: str) -> tuple[dict[str, tuple[str, float]], list[tuple[str, str]]]:
    """Return the first preset of each candidate that `plan` accepts, with its size over the original's; and the others."""
    chosen: dict[str, tuple[str, float]] = {}
    left_out: list[tuple[str, str]] = []
    error: Fault | None = None
    for target, (presets, _) in CANDIDATES.items():
        refused: Fault | None = None
        for preset in presets:
            try:
                planned = draft.planned(f"{texts}targets: {{{target}: {preset}}}\n").jobs[0]
            except NetworkFault:
                raise
            except Fault as fault:
                refused = refused or fault
                continue
            original = planned.job.original
            chosen[target] = (preset, weights_bytes(original, planned.rung) / original.bytes)
            break
        else:
            assert refused
            error = error or refused
            left_out.append((target, _bare(refused)))
    if not chosen:
        assert error
        kind = EnvironmentFault if isinstance(error, EnvironmentFault) else UsageError
        raise kind(_bare(error))
    return chosen, left_out


def _bare(error: Fault) -> str:
    """Return what was refused, without the name of the file that was tried."""
    said = str(error)
    _, separator, rest = said.partition(".yaml:")
    return rest.lstrip("0123456789: ") if separator else said


def _texts(draft: _Draft, task: Task) -> str:
    """Return the sections of the texts: the defaults, files that lie beside the manifest, or ones that are made there.

    Raises UsageError where rows stand for files, which are not made up, and none lie there.
    """
    beside, first = {section: _beside(draft.path.parent, section) for section in _TEXTS}, task.columns[0]
    if first.is_file and not beside["evaluation"]:
        raise UsageError(
            f"rows of {task.words} begin with the {KIND_WORDS[first.kind]}, and such files are not made up: put yours into "
            f'{draft.path.parent / "evaluation.jsonl"}, a line each, such as {{"{first.name}": "files/1"}}, and ask again'
        )
    if not all(beside.values()) and not first.is_file:
        if not _lack_defaults(draft):
            return ""
        beside |= dict(_documentation(draft.path.parent, first.name))
    return "".join(f"{section}: {{files: [{json.dumps(path.name)}]}}\n" for section, path in beside.items() if path)


def _lack_defaults(draft: _Draft) -> bool:
    """Whether the texts that a manifest has of itself are not to be had; what is wrong with the model is told later."""
    for presets, _ in CANDIDATES.values():
        try:
            draft.planned(f"targets: {{probe: {presets[0]}}}\n")
            return False
        except Fault as error:
            if "dataset" in str(error):
                return True
            if isinstance(error, NetworkFault):
                raise
    return False


def _beside(directory: Path, section: str) -> Path | None:
    files = sorted(directory.glob(f"{section}.jsonl")) + sorted(directory.glob(f"{section}.txt"))
    return files[0] if files else None


def _documentation(directory: Path, column: str) -> Iterator[tuple[str, Path]]:
    """Write texts of the standard library's documentation, no passage of one in the other; yield section and file."""
    dealt: dict[str, list[str]] = {section: [] for section in _TEXTS}
    seen: set[tuple[str, ...]] = set()
    for section in _TEXTS:
        for text in _docstrings(section):
            words = text.lower().split()
            passages = {tuple(words[start : start + 13]) for start in range(max(len(words) - 12, 1))}
            if not passages & seen and sum(map(len, dealt[section])) < _TEXTS[section]:
                dealt[section].append(text)
                seen |= passages
    for section, texts in dealt.items():
        path = directory / f"{section}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts), encoding="utf-8")
        yield section, path


def _docstrings(section: str) -> Iterator[str]:
    """Yield the longer docstrings of the standard library; its modules are dealt by a hash of their names."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted([*root.glob("*.py"), *root.glob("[a-z]*/*.py")]):
        held_out = hashlib.sha256(path.stem.encode()).digest()[0] % 5 == 0
        if held_out != (section == "evaluation") or "test" in path.parts[-2] or "packages" in path.parts[-2]:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # files that are meant to be wrong
            continue
        docstrings = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, nodes))
        yield from (text for text in docstrings if text and len(text) > 300)


def _manifest(model: str, task: str, texts: str, chosen: dict[str, tuple[str, float]]) -> str:
    """Return the manifest's text."""
    width = max(len(target) + len(preset) for target, (preset, _) in chosen.items()) + 2
    targets = "".join(
        f"  {f'{target}: {preset}':<{width}}  # {CANDIDATES[target][1]}; about {ratio:.0%} of the original's bytes\n"
        for target, (preset, ratio) in chosen.items()
    )
    largest = min(ceil(20 * max(ratio for _, ratio in chosen.values()) + 0.6) * 5, 100)
    said = (
        texts
        or "# calibration and evaluation: train and test of WikiText-2; files: [mine.jsonl] names text of your own.\n"
    )
    return f"""\
# Try it:  quantmill plan, then quantmill run. Names of presets: quantmill presets.
{model}
# The text that targets are calibrated on, and the held-out text that they are judged by. Better: text of what the model is for.
{said}
targets:
{targets}
# A target is released only when every gate holds at the unfavourable end of its confidence interval.
gates:
{first_gates(task)}
  size: {{max_ratio: {largest}%}}            # of the original's bytes; embeddings stay as they are

publish: {{to: local, namespace: local}}   # to: [local, hub] and your name there releases to the Hugging Face Hub
"""


def first_gates(task: str) -> str:
    """The gates of a task but that of size, a line each."""
    if task == DEFAULT_TASK:
        return (
            "  divergence: {max_kld: 0.05}      # nats per token, from the original\n  perplexity: {max_increase: 5%}"
        )
    asked = {name: KINDS[name]() for name in TASKS[task].defaults if name != "size"}
    return "\n".join(
        f"  {name}: {json.dumps(gate.model_dump(exclude_none=True))}".replace('"', "") for name, gate in asked.items()
    )
