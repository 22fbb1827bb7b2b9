"""What the source says of its licence: card metadata and the files that have to travel with the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from publishers.contents import NOTICES
from publishers.errors import PublishError


class License(BaseModel):
    """Terms a release inherits. All fields are None or empty when the source states none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    license: str | None = None
    """Hub identifier, such as `apache-2.0` or `other`."""
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()


def read_license(source: Path) -> License:
    """Read the terms from the YAML block of the source's README.md, or from `license` in its config.json."""
    readme = _card_metadata(source / "README.md")
    language = readme.get("language") or ()
    return License(
        license=_text(readme.get("license")) or _text(_config(source).get("license")),
        license_name=_text(readme.get("license_name")),
        license_link=_text(readme.get("license_link")),
        language=(language,) if isinstance(language, str) else tuple(map(str, language)),
    )


def notices(source: Path) -> tuple[Path, ...]:
    """Licence, notice and use-policy files of the source, sorted."""
    kept = ("", ".txt", ".md")
    return tuple(p for p in sorted(source.iterdir()) if p.is_file() and NOTICES.match(p.name) and p.suffix in kept)


def _text(value: Any) -> str | None:
    """First of a list, as some cards list one licence; None for anything that is no text."""
    if isinstance(value, list) and value:
        value = value[0]
    return value.strip() if isinstance(value, str) and value.strip() else None


def _card_metadata(readme: Path) -> dict[str, Any]:
    if not readme.is_file():
        return {}
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in [line.strip() for line in lines[1:]]:
        return {}
    end = next(number for number, line in enumerate(lines[1:], start=1) if line.strip() == "---")
    try:
        metadata = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        raise PublishError(
            f"The metadata block of {readme} is not YAML ({str(error).splitlines()[0]}), so the source's licence cannot be "
            "carried over: correct the block between its two --- lines."
        ) from error
    return metadata if isinstance(metadata, dict) else {}


def _config(source: Path) -> dict[str, Any]:
    path = source / "config.json"
    config = json.loads(path.read_bytes()) if path.is_file() else {}
    return config if isinstance(config, dict) else {}
