"""Settings of huggingface_hub, which reads them once, when it is imported: how it talks to the Hub, and how long it waits.

The one place that sets them, for every process that uses the client.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

_HUB = "https://huggingface.co"

CONNECT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 60.0
"""What a server may ask for with `Retry-After`; of a longer wait, this much."""
_SECONDS = "30"
"""Without a byte from the server before a request is given up; `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise."""
_WRITES = 3
"""So many times longer for what changes something: the Hub works on a commit for up to a minute."""
_BUSY = frozenset({429, 503})

_resume_at: dict[str, float] = {}
"""Server → the monotonic time before which it asked not to be asked again."""


@cache
def apply_hub_settings() -> None:
    """Settle how the client talks to the Hub; call it before anything imports huggingface_hub.

    Every request gets a deadline, of which the client sets none for most: on connecting, on each piece that is sent, on
    each piece that is received. None on the whole, which may be an upload of hours. A server that names a time to come
    back with `Retry-After` is not asked before.

    Without a Xet store behind it a server refuses uploads that the client sends there by default, and the client does
    not fall back: away from the Hugging Face Hub, files go by plain LFS.
    """
    if os.environ.get("HF_ENDPOINT", _HUB).rstrip("/") != _HUB:
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        os.environ.setdefault(name, _SECONDS)
    from huggingface_hub import set_client_factory

    set_client_factory(_client)


def is_offline() -> bool:
    """Whether the environment says that the Hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def _client() -> httpx.Client:
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.event_hooks["request"] += [_wait_for_server, _set_deadline]
    client.event_hooks["response"].append(_note_when_to_resume)
    return client


def _set_deadline(request: httpx.Request) -> None:
    """Hold what the caller left open, as most of the client's calls do, or would wait longer for."""
    seconds = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", _SECONDS))
    silence = seconds if request.method in ("GET", "HEAD") else _WRITES * seconds
    deadline = {"connect": CONNECT_SECONDS, "read": silence, "write": silence, "pool": silence}
    given = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {name: min(value, given.get(name) or value) for name, value in deadline.items()}


def _wait_for_server(request: httpx.Request) -> None:
    wait = _resume_at.get(request.url.host, 0.0) - time.monotonic()
    if wait > 0:
        time.sleep(min(wait, LONGEST_WAIT_SECONDS))


def _note_when_to_resume(response: httpx.Response) -> None:
    if response.status_code in _BUSY:
        wait = _seconds(response.headers.get("Retry-After", ""))
        _resume_at[response.request.url.host] = time.monotonic() + min(wait, LONGEST_WAIT_SECONDS)


def _seconds(value: str) -> float:
    """Read `Retry-After`, a number of seconds or an HTTP date; what is neither asks for nothing."""
    try:
        return float(int(value))
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
