"""Whether the texts that a manifest names can be read, do not overlap, and are long enough for what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from catalog.libraries import versions
from catalog.task import TEXT, Column
from catalog.tasks import TASKS
from flows.errors import DocumentError
from flows.files.cache import keep, kept
from flows.files.documents import besides, documents, located, rows
from flows.files.fingerprint import fingerprint
from flows.manifest.model import Calibration, Evaluation, Manifest
from flows.manifest.texts import Texts
from flows.manifest.yaml_source import Key
from flows.planning.preflight.beside import check_beside
from flows.planning.preflight.files import Subject
from flows.planning.preflight.finding import Finding
from flows.planning.preflight.tokenizer import load
from gates.errors import GateError
from gates.judging.gate import MeasuredGate

_ENOUGH = 8
"""Characters for each token that is asked for, of which no tokenizer makes too few: they are not counted then."""

_CALIBRATED = "; recipes for this task are calibrated on rows such as it is judged by"

Mark = tuple[int, int]
Columns = tuple[tuple[Column, str], ...]
"""Of rows, each with the key that these hold it under."""


def mark_of(path: Path) -> Mark:
    """Return a file's size and modification time in ns. Raises OSError."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns)


def check_files(finding: Finding, section: str, texts: Texts) -> None:
    """Raise ManifestError for the first data file that cannot be read or holds no document."""
    check_documents(finding, (section, "files"), texts, _columns(finding.manifest, section))


def check_documents(finding: Finding, at: Key, texts: Texts, columns: Columns = ()) -> None:
    """The same for the files of texts that are written at a key; columns: of rows, none of texts alone."""
    first = columns[0][0] if columns else TEXT
    for number, file in enumerate(texts.files):
        key = (*at, number)
        if not file.is_file():
            what = "is not a file" if file.exists() else "does not exist"
            raise finding.error(key, f"the data file {file} {what}")
        if first.is_file and file.suffix == ".txt":
            raise finding.error(
                key,
                f"is text, and models for {TASKS[finding.manifest.model.task].words} read rows that begin with the "
                f"{first.words}; give them in JSON Lines or Parquet",
            )
        try:
            contents = _contents(file, first, texts.column, mark_of(file))
            check_beside(finding, key, file, columns)
        except DocumentError as error:
            said = _CALIBRATED if at[0] == "calibration" and first.is_file else ""
            raise finding.error(key, f"{error}{said}") from error
        if at[0] == "evaluation":
            _check_rows(finding, key, file)
        if not contents:
            raise finding.error(key, f"{file} holds no document; give at least one with text in {texts.column!r}")


def _check_rows(finding: Finding, key: Key, file: Path) -> None:
    """Raise ManifestError for the first row that lacks what the task reads, or labels that a gate is about."""
    manifest = finding.manifest
    task = TASKS[manifest.model.task]
    label = task.label
    try:
        lacking = _lacking(file, mark_of(file), manifest.model.task, tuple(manifest.columns.items()))
    except DocumentError as error:
        raise finding.error(key, str(error)) from error
    about = [name for name, gate in manifest.gates.asked() if gate.labelled and name not in task.unlabelled]
    asked = about if label in lacking else []
    if asked and label:
        raise finding.error(
            ("gates", asked[0]),
            f"is about what is true, and {file.name} has rows without {manifest.columns[label]!r}; give it, name its key "
            "in evaluation.columns, or ask for another gate",
        )


@lru_cache(maxsize=256)
def _lacking(file: Path, mark: Mark, task: str, keys: tuple[tuple[str, str], ...]) -> frozenset[str]:
    """Return the columns that are absent from some rows. Raises DocumentError."""
    columns = {column.name: column for column in TASKS[task].columns}
    read = rows(file, [(columns[name], key) for name, key in keys])
    return frozenset(name for row in read for name in columns if name not in row)


def _columns(manifest: Manifest, section: str) -> Columns:
    """What rows hold, each with its key: of evaluation what the task is judged by, else what recipes read."""
    task = TASKS[manifest.model.task]
    if section == "evaluation":
        known = {column.name: column for column in task.columns}
        return tuple((known[name], key) for name, key in manifest.columns.items())
    if not task.reads:
        return ((TEXT, manifest.calibration.column),)
    return tuple(zip(task.reads, manifest.calibrated.values(), strict=True))


@lru_cache(maxsize=256)
def _contents(file: Path, first: Column, key: str, mark: Mark) -> frozenset[bytes]:
    """Return a hash of every document, blind to white space, or of every file that a row stands for. Raises DocumentError."""
    if first.is_file:
        return frozenset(bytes.fromhex(each.sha256)[:16] for _, each in besides(file, [(first, key)]))
    return frozenset(sha256(" ".join(text.split()).encode()).digest()[:16] for text in documents(file, key))


def check_disjoint(finding: Finding, manifest: Manifest) -> None:
    """Refuse evaluation documents that are calibration documents, too, word for word."""
    if not (manifest.calibration.files and manifest.evaluation.files):
        return
    (first, key), *_ = _columns(manifest, "calibration")
    read_by_recipes = [(path, _contents(path, first, key, mark_of(path))) for path in manifest.calibration.files]
    for number, file in enumerate(manifest.evaluation.files):
        held_out = _contents(file, *_columns(manifest, "evaluation")[0], mark_of(file))
        for other, known in read_by_recipes:
            if shared := len(held_out & known):
                raise finding.error(
                    ("evaluation", "files", number),
                    f"{shared} of its {len(held_out)} documents are in the calibration file {other.name}, too; "
                    "evaluate on text that no recipe has read",
                )


@dataclass(frozen=True)
class Reading:
    """Documents that are here: the user's files, or what was fetched of a data set."""

    files: tuple[tuple[Path, Mark], ...]
    column: str
    name: str | None = None
    """Of the data set they were fetched from."""

    @classmethod
    def of(cls, texts: Texts) -> Reading:
        """Return the documents of local files. Raises OSError."""
        return cls(tuple((path, mark_of(path)) for path in texts.files), texts.column)

    @classmethod
    def fetched(cls, texts: Texts, path: Path, column: str = "text") -> Reading:
        """Return the documents of a data set that were written to a file."""
        return cls(((path, mark_of(path)),), column, texts.where)

    def documents(self) -> Iterator[tuple[str, str]]:
        """Yield where each is, for a person, and its text."""
        for path, _ in self.files:
            for number, (where, text) in enumerate(located(path, self.column), 1):
                yield (f"{self.name}: document {number}" if self.name else where), text


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and the key that asks for it."""

    key: Key
    text: str


@lru_cache(maxsize=1024)
def trouble(home: Path, question: Callable[..., Trouble | None], *about: Any) -> Trouble | None:
    """Ask a question of this module, unless the answer was "none" before: sound texts are remembered below `home`."""
    memory = (
        home / "cache" / "sound" / fingerprint([question.__name__, versions(("tokenizers", "jinja2")), repr(about)])
    )
    if kept(memory, bool):
        return None
    answer = question(*about)
    if answer is None:
        keep(memory, True)
    return answer


def scored(evaluation: Reading, asked: Evaluation, subject: Subject) -> Trouble | None:
    """Return why documents cannot be scored: none has two tokens, or one has more than the model has positions for."""
    tokenizer = load(subject)
    if tokenizer is None:
        return None
    positions, longest = _positions(subject), 0
    for _, text in islice(evaluation.documents(), asked.documents):
        longest = max(longest, len(tokenizer.encode(text).ids))
        if longest > 1 and (positions is None or positions >= asked.tokens):
            return None
    if longest < 2:
        return Trouble(
            ("evaluation", "files"),
            "no document has two tokens, so that there is nothing to predict and to compare; give more text",
        )
    if positions is not None and min(longest, asked.tokens) > positions:
        return Trouble(
            ("evaluation", "tokens"),
            f"asks for {asked.tokens} tokens of a document, and the model has positions for {positions}; ask for that at most",
        )
    return None


def filled(calibration: Reading, asked: Calibration, least: int, subject: Subject) -> Trouble | None:
    """Return why documents do not fill the rows that are asked for, `least` of them at the least."""
    positions = _positions(subject)
    if positions is not None and asked.tokens > positions:
        return Trouble(
            ("calibration", "tokens"),
            f"asks for rows of {asked.tokens} tokens, and the model has positions for {positions}; ask for that at most",
        )
    tokenizer = load(subject)
    if tokenizer is None or sum(len(text) for _, text in calibration.documents()) >= _ENOUGH * least * asked.tokens:
        return None
    count = 0
    for _, text in calibration.documents():
        count += len(tokenizer.encode(text).ids)
        if count >= least * asked.tokens:
            return None
    rows = count // asked.tokens
    if rows < min(least, 2):
        return Trouble(
            ("calibration", "files"),
            f"the text makes {count} tokens, less than {'one row' if least == 1 else 'two rows'} of {asked.tokens}"
            f"{'' if least == 1 else ': a search calibrates on some and measures on others'}; give more text, or fewer "
            "tokens per row",
        )
    return Trouble(
        ("calibration", "samples"),
        f"asks for {least} rows of {asked.tokens} tokens, and the text makes {rows}; give more text, or ask for {rows}",
    )


def packed(evaluation: Reading, name: str, gate: MeasuredGate, subject: Subject) -> Trouble | None:
    """Return why a gate's rows cannot be packed from the documents, each of which is in one row of a length."""
    tokenizer = load(subject)
    if tokenizer is None:
        return None
    text = sum(len(tokenizer.encode(text).ids) for _, text in evaluation.documents())
    context = subject.config.get("max_position_embeddings")
    reads = gate.reads(context, text)
    most = max((read.tokens for read in reads), default=0)
    if context is not None and most > context:
        return Trouble(
            ("gates", name),
            f"asks for rows of {most:,} tokens, and the model was made for {context:,}; ask for that at most",
        )
    if not reads or max(read.rows * read.tokens for read in reads) > text:
        asked = f"{reads[-1].rows} rows of {most:,} tokens" if reads else "rows of some thousand tokens"
        return Trouble(
            ("gates", name),
            f"asks for {asked}, and the text makes {text:,} tokens in all; give more text, or ask for shorter rows",
        )
    return None


def apart(calibration: Reading, evaluation: Reading) -> Trouble | None:
    """Return which passage both texts share."""
    from gates.safeguards.contamination import overlap  # brings numpy

    try:
        overlap(calibration.documents(), evaluation.documents())
    except GateError as error:
        return Trouble(("evaluation", "files"), str(error))
    return None


_LEARNED = {
    "gpt2": "n_positions",
    "gpt-sw3": "n_positions",
    "openai-gpt": "n_positions",
    **dict.fromkeys(("opt", "bert", "distilbert", "electra", "albert"), "max_position_embeddings"),
}
"""Model types that look positions up in a table, and the key that says how many it has; others compute them."""


def _positions(subject: Subject) -> int | None:
    positions = subject.config.get(_LEARNED.get(subject.config["model_type"], ""))
    return positions if isinstance(positions, int) else None
