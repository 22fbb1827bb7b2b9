"""A draft from a manifest to the card of what it speeds up: made first, pinned by its commit, and judged by what is accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.drafts import Draft, pinned
from flows.planning.hub import SourceError
from flows.planning.plan import plan, read
from flows.store import Store
from publishers.destinations.local import Local
from tests.flows.conftest import Demo, quantmill, room
from tests.releases import say

SMALL, LARGE = "demo/docstring-llama-small", "demo/docstring-llama-large"
TEXT = """\
model: {{source: ./model, name: docstring-llama}}
evaluation: {{files: [evaluation.jsonl], tokens: 64, documents: 16}}
targets:
{targets}
gates: {{divergence: {{max_kld: 0.2}}, perplexity: null, size: null{gates}}}
publish: {{to: local, namespace: demo}}
"""
TARGETS = "  large: {preset: ov-w8-rtn, draft: small}\n  small: ov-w4-rtn-g64"


def written(manifest: Path, targets: str = TARGETS, gates: str = "", name: str = "drafted.yaml") -> Path:
    path = manifest.with_name(name)
    path.write_text(TEXT.format(targets=targets, gates=gates))
    return path


@pytest.fixture(scope="module")
def drafted(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Both milled in one run, of a manifest that names the draft's target last."""
    directory = tmp_path_factory.mktemp("drafts")
    manifest = written(room(directory), gates=", acceptance: {min_rate: 30%}")
    home = directory / "home"
    todo = plan(read([manifest]), Store(home))
    stands = {each.job.target.name: (each.state, each.why) for each in todo.jobs}
    assert stands == {"large": ("stale", f"waits for its draft {SMALL}"), "small": ("stale", "never built")}
    return Demo(manifest, home, quantmill("run", manifest, "--json", home=home))


def commit(home: Path, name: str) -> str:
    found = Local("", home).main_of(name)
    assert found
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("drafts")
def test_one_run_releases_the_draft_and_then_what_it_is_for(drafted: Demo, tmp_path: Path) -> None:
    assert drafted.ran.code == 0, drafted.ran.stderr
    assert {row["target"]: row["state"] for row in drafted.ran.json} == {
        "large": "released",
        "small": "released",
    }
    (release,) = Local("", drafted.home).versions(LARGE)
    assert release.directory
    card = (release.directory / "README.md").read_text()
    revision = commit(drafted.home, SMALL)
    (code,) = [each for each in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "draft_model" in each]
    assert f'snapshot_download("{SMALL}", revision="{revision}")' in code and "draft: small" in card
    (row,) = re.findall(r"\| Tokens of its draft that it accepts \| ([\d.]+)% \| ([\d.]+)% \| ≥ 30.0%", card)
    assert 30 <= float(row[1]) <= float(row[0]) <= 100
    alone = code.replace(", draft_model=draft", "").replace(', "num_assistant_tokens": 4', "")
    with_draft, without = say([code, alone], tmp_path, HF_HOME=str(drafted.home), HF_HUB_OFFLINE="1")
    assert with_draft == without and with_draft.strip(), "the text is the model's own"
    told = json.loads((release.directory / "quantmill.json").read_text())
    assert "openvino-genai" in json.dumps(told)


@pytest.mark.slow
@pytest.mark.xdist_group("drafts")
def test_nothing_is_left_and_other_guesses_are_judged_anew(drafted: Demo) -> None:
    again = plan(read([drafted.manifest]), Store(drafted.home))
    assert [each.state for each in again.jobs] == ["released", "released"]
    # By the name of its release, the very draft of before; of the gate's fields, one decides what is measured.
    name = f"  large: {{preset: ov-w8-rtn, draft: {SMALL}}}"
    stands = {}
    for candidates in (4, 5):
        gates = f", acceptance: {{min_rate: 30%, candidates: {candidates}}}"
        ((job, state),) = [
            (each.job, each.state)
            for each in plan(read([written(drafted.manifest, name, gates, "named.yaml")]), Store(drafted.home)).jobs
        ]
        assert job.draft and job.draft.commit == commit(drafted.home, SMALL)
        stands[candidates] = state
    assert stands == {4: "released", 5: "stale"}


@pytest.mark.slow
@pytest.mark.xdist_group("drafts")
def test_a_release_with_another_tokenizer_drafts_for_no_model(drafted: Demo) -> None:
    manifest = load(written(drafted.manifest, f"  large: {{preset: ov-w8-rtn, draft: {SMALL}}}", name="named.yaml"))
    assert isinstance(pinned(manifest, manifest.targets["large"], drafted.home), Draft)
    path = drafted.manifest.with_name("model") / "tokenizer.json"
    text = path.read_text()
    told = json.loads(text)
    one, other = list(told["model"]["vocab"])[300:302]
    numbers = told["model"]["vocab"]
    numbers[one], numbers[other] = numbers[other], numbers[one]
    path.write_text(json.dumps(told))
    try:
        with pytest.raises(SourceError, match="whose tokenizer is another: the token"):
            pinned(manifest, manifest.targets["large"], drafted.home)
    finally:
        path.write_text(text)


WRONG = [
    ("  large: {preset: ov-w8-rtn, draft: smal}\n  small: ov-w4-rtn-g64", "", "no such target; allowed: large, small"),
    ("  large: {preset: ov-w8-rtn, draft: large}", "", "which is this target"),
    ("  large: {preset: ov-w8-rtn, draft: demo/docstring-llama-large}", "", "which is this target"),
    ("  large: {preset: w8-rtn, draft: small}\n  small: ov-w4-rtn-g64", "", "this is in compressed-tensors"),
    ("  large: {preset: ov-w8-rtn, draft: small}\n  small: nf4", "", "in format bitsandbytes, which drafts for none"),
    ("  large: {preset: ov-w8-rtn, draft: [small]}", "", "is a list; allowed: the name of another target"),
    ("  large: ov-w8-rtn", ", acceptance: {min_rate: 60%}", "is about drafts, and no target names one"),
    ("  large: {preset: ov-w8-rtn, draft: small}\n  small: {preset: ov-w4-rtn-g64, release: false}", "", "not release"),
]


@pytest.mark.parametrize(("targets", "gates", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_cannot_be_a_draft_is_refused_with_the_manifest(
    targets: str, gates: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ManifestError, match=re.escape(words)):
        load(written(tmp_path / "demo.yaml", targets, gates))


def test_a_release_that_is_not_there_is_refused_by_plan(tmp_path: Path) -> None:
    manifest = written(room(tmp_path), "  large: {preset: ov-w8-rtn, draft: demo/none}")
    with pytest.raises(
        SourceError, match=r"targets\.large\.draft: is demo/none, and the local hub has no such release"
    ):
        plan(read([manifest]), Store(tmp_path / "home"))
