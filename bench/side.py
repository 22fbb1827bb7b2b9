"""One side of a comparison, in a process of its own.

`python -m bench.side PEER MODEL SCRATCH SAMPLES [--no-score]` writes SCRATCH/side.json: seconds of quantizing
(libraries imported before, the model read within) and, unless told otherwise, the score on held-out text.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench.peers import MIXTURES, PEERS
from bench.score import score


def main(peer: str, model: Path, scratch: Path, samples: int, scored: bool) -> None:
    start = time.perf_counter()
    logits = (PEERS | MIXTURES)[peer](model, scratch, samples)
    result: dict[str, float] = {"quantizing_seconds": time.perf_counter() - start}
    if scored:
        result |= score(model, logits())
    (scratch / "side.json").write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), "--no-score" not in sys.argv[5:])
