"""The files beside the weights: configuration, tokenizer, processor and chat template, without a trace of this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from catalog import sentence_transformers as layout

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
"""How files, such as images, become tensors."""
VERBATIM = (
    "generation_config.json",
    "normalizer.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    *PROCESSORS,
    *layout.BESIDE,
)
"""Files copied from the model when it has them; JSON objects among them are scrubbed."""

_MACHINE = ("_name_or_path", "name_or_path")
_CODE = "auto_map"
"""Where configurations name code of the repository. transformers carries the architecture itself, or it is not quantized."""


def copy_companions(model: Path, artifact: Path, config: dict[str, Any]) -> None:
    """Write `config` as config.json, and copy tokenizer, processor, generation configuration and chat templates; no code is
    named."""
    write_json(artifact / "config.json", scrub(_without_code(config), model))
    for name in VERBATIM:
        path = model / name
        if not path.is_file():
            continue
        if name in ("generation_config.json", "tokenizer_config.json", *PROCESSORS):
            write_json(artifact / name, scrub(_without_code(json.loads(path.read_text("utf-8"))), model))
        else:
            shutil.copyfile(path, artifact / name)
    for path in layout.files(model):
        copied = artifact / path.relative_to(model)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
    templates = model / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, artifact / templates.name, copy_function=shutil.copyfile)


def _without_code(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != _CODE}


def scrub(value: Any, model: Path) -> Any:
    """`value` without the keys that name a directory of the machine it was written on, or the model's directory."""
    if isinstance(value, dict):
        return {k: scrub(v, model) for k, v in value.items() if k not in _MACHINE and not _local(v, model)}
    if isinstance(value, list):
        return [scrub(v, model) for v in value if not _local(v, model)]
    return value


def _local(value: Any, model: Path) -> bool:
    return isinstance(value, str) and (
        str(model) in value or (value.startswith("/") and Path(value).is_absolute() and value.count("/") > 1)
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON the way save_pretrained does: two spaces, keys in the order given, one newline at the end."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
