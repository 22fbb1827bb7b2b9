"""What steps report, made up: for tests of what the store does with it."""

from typing import Any

from flows.planning.kinds import Artifact, Judged
from gates.results import Verdict
from publishers.request import Place, Result
from quantizers.recipe import Recipe


def artifact(**changes: Any) -> Artifact:
    """The report of one target that was made."""
    made = {"expected_bytes": 1, "weights_bytes": 1, "quantized": 1, "kept": 0, "compute": "float32"}
    return Artifact(**{"recipe": Recipe(), "tools": {}, "made_together": 1, "place": "0", **made, **changes})


def judged(passed: bool, evidence: str, content: str) -> Judged:
    """A verdict without gates."""
    outcome = "passed" if passed else "failed"
    verdict = Verdict(passed=passed, outcome=outcome, more=False, sentence="fine", gates=())
    return Judged(**dict(verdict), evidence=evidence, content=content)


def published(name: str, commit: str) -> Result:
    """A release in the local hub."""
    return Result(name=name, places=(Place(to="local", version="v1", commit=commit, url=""),), files={})
