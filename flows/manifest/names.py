"""Names the Hugging Face Hub accepts, without importing its client.

The rules are those of `huggingface_hub.utils.validate_repo_id`, to which a test holds them.
"""

from __future__ import annotations

import re

MAX_LENGTH = 96
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")


def fault(part: str) -> str | None:
    """Return what is wrong with one part of `namespace/name`, or None."""
    if len(part) > MAX_LENGTH:
        return f"has {len(part)} characters; the Hub allows {MAX_LENGTH}"
    if not _PART.fullmatch(part):
        return "is not a name on the Hub; allowed: letters A-Z a-z, digits, and . _ - inside the name"
    if "--" in part or ".." in part:
        return "holds -- or .., which the Hub refuses"
    if part.endswith(".git"):
        return "ends in .git, which the Hub refuses"
    return None


def fault_of_id(source: str) -> str | None:
    """Return what is wrong with a Hub id, `name` or `namespace/name`, or None."""
    if source.count("/") > 1:
        return "is neither a directory nor a Hub id (`namespace/name`)"
    return next((problem for part in source.split("/") if (problem := fault(part))), None)
