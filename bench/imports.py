"""Import modules and end: what `bench.six` measures from outside."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    for module in ("gates.entrypoint", *sys.argv[1:]):
        import_module(module)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained  # noqa: B018  transformers imports it when it is first asked for
