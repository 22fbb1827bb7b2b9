"""YAML with line numbers, read the way its author meant it.

YAML 1.1 (which PyYAML implements) and 1.2 (which editors implement) disagree on what `no`, `010`, `1e3` or `1:30` are. Here
such a word is refused until it is quoted or written plainly; everything else is the 1.2 core schema
(https://yaml.org/spec/1.2.2/#103-core-schema). Tags, merge keys, duplicate keys and second documents are refused.

The file is read as a stream of parser events with bounds on depth and size: composing a document of nested brackets
recurses in C without a limit, and overflows the stack.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows.manifest.errors import ManifestError, nearest
from flows.manifest.scalars import Refused, kind_of, plain

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_VALUES = 20_000
"""Values after aliases are expanded; a manifest of a hundred targets has under two thousand."""

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """A YAML file: its data, and the line of every key."""

    path: Path
    """As the user named it."""
    data: Any
    lines: dict[Key, int]

    def nearest_written(self, key: Key) -> Key:
        """Return `key` without what is below a value: `files` may be written as one word, and is loaded as a list."""
        for length in range(1, len(key)):
            if key[:length] in self.lines and not isinstance(self.written(key[:length]), dict | list):
                return key[:length]
        return key

    def written(self, key: Key) -> Any:
        """Return the value of `key`, or None when it is not written."""
        value = self.data
        for part in key:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def error(self, key: Key, problem: str) -> ManifestError:
        """Return the error of `key`, with its line; the line of the nearest key above when it is not written."""
        key = above = self.nearest_written(key)
        while above not in self.lines:
            above = above[:-1]
        return ManifestError(self.path, self.lines[above], dotted(key), problem)


def dotted(key: Key) -> str:
    """Return `targets.auto.ladder[1]` for `("targets", "auto", "ladder", 1)`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


@dataclass
class _Node:
    """A scalar (value: text), sequence (list of nodes) or mapping (flat list: key, value, key, value)."""

    kind: str
    line: int
    value: Any
    plain: bool = False


@dataclass
class _Reading:
    """The state of turning nodes into data."""

    path: Path
    lines: dict[Key, int] = field(default_factory=dict)
    count: int = 0

    def error(self, line: int, key: Key, problem: str) -> ManifestError:
        return ManifestError(self.path, line, dotted(key), problem)

    def convert(self, node: _Node, key: Key, line: int) -> Any:
        self.count += 1
        if len(key) > MAX_DEPTH or self.count > MAX_VALUES:
            top = key[:1]
            problem = f"its aliases expand to more than {MAX_VALUES} values or {MAX_DEPTH} levels; write them out"
            raise self.error(self.lines[top], top, problem)
        self.lines[key] = line
        if node.kind == "mapping":
            return self._mapping(node, key)
        if node.kind == "sequence":
            return [self.convert(item, (*key, i), item.line) for i, item in enumerate(node.value)]
        return self._scalar(node, key, line) if node.plain else node.value

    def _mapping(self, node: _Node, key: Key) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for name, value in zip(node.value[::2], node.value[1::2], strict=True):
            word = self._key(name, key)
            if word in mapping:
                first = self.lines[(*key, word)]
                raise self.error(name.line, (*key, word), f"is written twice, first in line {first}; keep one of them")
            mapping[word] = self.convert(value, (*key, word), name.line)
        return mapping

    def _key(self, node: _Node, parent: Key) -> str:
        if node.kind != "scalar":
            raise self.error(node.line, parent, f"has a {node.kind} for a key; a key is a word")
        if node.plain and node.value == "<<":
            raise self.error(
                node.line, parent, "merge keys (`<<`) are not read; name shared values as a preset in targets.yaml"
            )
        if node.plain:
            value = self._scalar(node, (*parent, node.value), node.line)
            if not isinstance(value, str):
                problem = f'the key `{node.value}` is {kind_of(value)} to YAML; put it in quotes: "{node.value}"'
                raise self.error(node.line, parent, problem)
        return str(node.value)

    def _scalar(self, node: _Node, key: Key, line: int) -> Any:
        value = plain(node.value)
        if isinstance(value, Refused):
            raise self.error(line, key, value.problem)
        return value


def _nodes(text: str, path: Path) -> _Node | None:
    """Build the nodes of the only document in `text`. Raises ManifestError for what a manifest does not use."""
    builder = _Builder(path)
    for event in _events(text, path):
        builder.take(event)
    return builder.root


@dataclass
class _Builder:
    """The tree of a document, grown event by event."""

    path: Path
    root: _Node | None = None
    documents: int = 0
    nodes: int = 0
    open_nodes: list[_Node] = field(default_factory=list)
    """From the root down to the mapping or sequence that is being read."""
    anchors: dict[str, _Node] = field(default_factory=dict)

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.ScalarEvent():
                self._open(event, _Node("scalar", line, event.value, plain=event.implicit[0]))
            case yaml.MappingStartEvent():
                self._open(event, _Node("mapping", line, []))
            case yaml.SequenceStartEvent():
                self._open(event, _Node("sequence", line, []))
            case yaml.AliasEvent():
                if event.anchor not in self.anchors:
                    raise self._refused(line, f"the alias *{event.anchor} refers to no anchor above it")
                self._place(self.anchors[event.anchor], line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self.open_nodes.pop()
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise self._refused(line, "a second document (`---`) starts here; give each manifest its own file")

    def _open(self, event: Any, node: _Node) -> None:
        """Place a node that is written here, and read on inside it unless it is a scalar."""
        if event.tag:
            raise self._refused(node.line, f"the tag {event.tag} is not read; a manifest holds plain values only")
        self._place(node, node.line)
        if event.anchor:
            self.anchors[event.anchor] = node
        if node.kind != "scalar":
            self.open_nodes.append(node)
        if len(self.open_nodes) > MAX_DEPTH:
            raise self._refused(node.line, f"nests deeper than {MAX_DEPTH} levels; a manifest needs five")

    def _place(self, node: _Node, line: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_VALUES:
            raise self._refused(line, f"holds more than {MAX_VALUES} values; split it into several manifests")
        if self.open_nodes:
            self.open_nodes[-1].value.append(node)
        else:
            self.root = node

    def _refused(self, line: int, problem: str) -> ManifestError:
        return ManifestError(self.path, line, "", problem)


_HINTS = {
    "mapping values are not allowed": "put a value that holds `: ` in quotes, and check the indentation",
    "did not find expected key": "check the indentation, and that every { and quote is closed",
    "could not find expected ':'": "write `key: value`",
    "did not find expected ',' or": "check that every { and [ is closed",
    "did not find expected '-' indicator": "check the indentation of the list",
    "found unexpected end of stream": "a quote is not closed",
    "found unknown escape character": "write a backslash in single quotes",
    "control characters": "save the file as plain UTF-8 text",
}


def _events(text: str, path: Path) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", error))
        line = min(mark.line if mark else text.count("\n", 0, getattr(error, "position", 0)), text.count("\n")) + 1
        if "\t" in re.match(r"\s*", text.split("\n")[line - 1])[0]:  # type: ignore[index]
            raise ManifestError(
                path, line, "", "not YAML: the line is indented with a tab; indent with spaces"
            ) from error
        hint = next((f"; {advice}" for start, advice in _HINTS.items() if start in problem), "")
        raise ManifestError(path, line, "", f"not YAML: {problem}{hint}") from error


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ManifestError(path, None, "", "is a directory; name a manifest in it, such as its *.yaml")
        if not stat.S_ISREG(status.st_mode):
            raise ManifestError(path, None, "", "is not a regular file; a manifest is a YAML file")
        if status.st_size > MAX_BYTES:
            raise ManifestError(path, None, "", f"has {status.st_size} bytes; a manifest has at most {MAX_BYTES}")
        raw = path.read_bytes()
    except FileNotFoundError as error:
        there = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise ManifestError(path, None, "", "there is no such file" + nearest(path.name, there)) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(path, None, "", f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ManifestError(path, line, "", "is not UTF-8 text; save it in that encoding") from error
    if odd := re.search("[\x85\u2028\u2029]", text):
        problem = f"holds U+{ord(odd[0]):04X}, which ends a line to YAML 1.1 and to nobody else; remove it"
        raise ManifestError(path, text.count("\n", 0, odd.start()) + 1, "", problem)
    return text


MANIFEST = "a manifest is a mapping with at least `model` and `targets`"
PRESETS = "presets are a mapping of names to recipe fields"


def read(path: Path, wanted: str = MANIFEST) -> Source:
    """Read a YAML file whose top is a mapping. Raises ManifestError, which says what was `wanted`."""
    root = _nodes(_text(path), path)
    if root is None or (root.kind == "scalar" and root.plain and not root.value):
        raise ManifestError(path, 1, "", f"is empty; {wanted}")
    if root.kind != "mapping":
        raise ManifestError(path, root.line, "", f"holds a {root.kind} at the top; {wanted}")
    reading = _Reading(path)
    data = reading.convert(root, (), root.line)
    return Source(path, data, reading.lines)
