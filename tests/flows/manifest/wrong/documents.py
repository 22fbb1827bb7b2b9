"""What is no YAML, is no manifest, or means different things to different readers."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.flows.manifest.wrong.case import GOOD, MODEL, TARGETS, Wrong, target


def replaced_by(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Put something that is no file in the manifest's place."""

    def change(room: Path) -> None:
        (room / "m.yaml").unlink()
        make(room / "m.yaml")

    return change


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)

DOCUMENTS = (
    Wrong("an empty file", "", 1, "", ("is empty", "`model` and `targets`")),
    Wrong("only a comment", "# later\n", 1, "", ("is empty",)),
    Wrong("a list", "- model\n", 1, "", ("holds a sequence", "`targets`")),
    Wrong("a word", "model\n", 1, "", ("holds a scalar",)),
    Wrong("a tab", "model:\n\tsource: ./model\n", 2, "", ("indented with a tab", "spaces")),
    Wrong("an open brace", GOOD + "publish: {to: local\n", 7, "", ("not YAML", "closed")),
    Wrong("a colon in a value", MODEL + "targets: a: b\n", 2, "", ("not YAML", "quotes")),
    Wrong("an open quote", 'model: {source: "./model}\n', 2, "", ("not YAML", "quote")),
    Wrong("bad indentation", "model:\n  source: ./model\n name: x\n", 3, "", ("not YAML", "indentation")),
    Wrong("a control character", GOOD + "x: \x07\n", 6, "", ("not YAML", "control characters")),
    Wrong("Latin-1", GOOD.encode() + b"# M\xfcller\n", 6, "", ("not UTF-8",)),
    Wrong("UTF-16", GOOD.encode("utf-16"), 1, "", ("not UTF-8",)),
    Wrong("a line separator", MODEL + "# a\u2028b\n" + TARGETS, 2, "", ("U+2028", "remove it")),
    Wrong("two documents", GOOD + "---\n" + GOOD, 6, "", ("second document", "own file")),
    Wrong("a duplicate key", GOOD + TARGETS, 6, "targets", ("written twice", "line 4")),
    Wrong("a duplicate target", GOOD + "  int4: nf4\n", 6, "targets.int4", ("written twice", "line 5")),
    Wrong("a tag", target("!!python/object:os.system {}"), 5, "", ("tag", "plain values")),
    Wrong("a merge key", GOOD + "x: &x {a: b}\ngates:\n  <<: *x\n", 8, "gates", ("merge keys", "targets.yaml")),
    Wrong("an alias of nothing", target("*there"), 5, "", ("*there", "no anchor")),
    Wrong("an alias bomb", GOOD + BOMB, 10, "e", ("aliases expand to more than 20000",)),
    Wrong("an anchor in itself", GOOD + "x: &x [*x]\n", 6, "x", ("aliases expand",)),
    Wrong("a million brackets", GOOD + "x: " + "[" * 900_000, 6, "", ("nests deeper than 16",)),
    Wrong(
        "a hundred thousand anchors", "".join(f"k{i}: &a{i} v\n" for i in range(40_000)), 10_000, "", ("20000 values",)
    ),
    Wrong("a key that is a list", GOOD + "[a, b]: c\n", 6, "", ("sequence for a key",)),
    Wrong("a target named no", GOOD + "  no: nf4\n", 6, "targets.no", ("`no` is false", '"no" in quotes')),
    Wrong("a target named 4", GOOD + "  4: nf4\n", 6, "targets", ("`4` is a number", '"4"')),
    Wrong("yes for true", GOOD + "publish: {private: yes}\n", 6, "publish.private", ("`yes` is true", "write true")),
    Wrong("an octal number", target("{group_size: 0100}"), 5, "targets.t.group_size", ("`0100`", "write 64")),
    Wrong(
        "an exponent",
        MODEL + "calibration: {samples: 1e3}\n" + TARGETS,
        2,
        "calibration.samples",
        ("`1e3`", "write 1000"),
    ),
    Wrong(
        "a sexagesimal number",
        MODEL + "calibration: {tokens: 2:08}\n" + TARGETS,
        2,
        "calibration.tokens",
        ("write 128",),
    ),
    Wrong("a date", "model: {source: ./model, name: 2026-11-21}\n" + TARGETS, 1, "model.name", ("date", "quotes")),
    Wrong("infinity", GOOD + "gates: {divergence: {max_kld: .inf}}\n", 6, "gates.divergence.max_kld", ("finite",)),
    Wrong("a thousand digits", target("{group_size: " + "9" * 1000 + "}"), 5, "targets.t.group_size", ("1000 digits",)),
    Wrong("a section left empty", GOOD + "gates:\n  speed:\n", 7, "gates.speed", ("is empty", "{}", "null")),
    Wrong(
        "no manifest",
        b"",
        None,
        "",
        ("no such file", "did you mean 'm.yml'?"),
        lambda room: (room / "m.yaml").rename(room / "m.yml"),
    ),
    Wrong(
        "a directory",
        b"",
        None,
        "",
        ("is a directory",),
        replaced_by(Path.mkdir),
    ),
    Wrong(
        "a pipe",
        b"",
        None,
        "",
        ("not a regular file",),
        replaced_by(os.mkfifo),
    ),
    Wrong(
        "a hundred megabytes",
        b"",
        None,
        "",
        ("100000000 bytes", "at most 1000000"),
        lambda room: os.truncate(room / "m.yaml", 10**8),
    ),
)
