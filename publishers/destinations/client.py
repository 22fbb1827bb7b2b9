"""Settings of huggingface_hub, which reads them once, when it is imported. Imports nothing of it."""

from __future__ import annotations

import os

_HUB = "https://huggingface.co"


def apply_hub_settings() -> None:
    """Settle how the client talks to the Hub; call it before anything imports huggingface_hub.

    Without a Xet store behind it a server refuses uploads that the client sends there by default, and the client does
    not fall back: away from the Hugging Face Hub, files go by plain LFS.
    """
    if os.environ.get("HF_ENDPOINT", _HUB).rstrip("/") != _HUB:
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
