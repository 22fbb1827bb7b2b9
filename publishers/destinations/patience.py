"""Asking the Hub again: what waiting can mend, what it cannot, and what is said when patience ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from publishers.errors import HubError, PublishError

T = TypeVar("T")

DELAYS = (1.0, 4.0, 16.0)
"""Seconds between attempts, give or take half, so that many workers do not return at once."""
PATIENCE_SECONDS = 120.0
"""No further attempt after this long; one attempt takes as long as the deadlines of its requests. What moves files is
asked for as often, however long it takes."""
WORTH_RETRYING = frozenset({408, 409, 412, 425, 429})
"""Client errors that the same request may outlive; 412 also comes from a head read through a cache that lags."""
REFUSALS = frozenset({501, 505, 507, 508, 510, 511})
"""Server errors that it may not: not implemented, no room left, and the like."""
REMEDIES = {
    413: "It is larger than the server, or a proxy before it, takes: raise the limit there, or publish something smaller.",
    507: "The server has no room left: make some, then run again.",
}


class Patience:
    """The attempts at one thing. A new one has all of them before it."""

    def __init__(self, *, delays: Sequence[float] = DELAYS, seconds: float = PATIENCE_SECONDS) -> None:
        self._delays = iter(delays)
        self._end = time.monotonic() + seconds

    def allows_another(self, error: Exception) -> bool:
        """Whether to try again after this failure. Waits until it is time to."""
        if not is_transient(error) or time.monotonic() > self._end:
            return False
        delay = next(self._delays, None)
        if delay is None:
            return False
        time.sleep(delay * random.uniform(0.5, 1.5))
        return True


def retried(call: Callable[[], T], patience: Patience) -> T:
    """Call until it answers; raise what it raised when waiting cannot mend it, or at the last attempt."""
    while True:
        try:
            return call()
        except Exception as error:
            if not patience.allows_another(error):
                raise


def patiently(
    api: HfApi,
    what: str,
    call: Callable[[], T],
    *,
    delays: Sequence[float] = DELAYS,
    seconds: float = PATIENCE_SECONDS,
) -> T:
    """Call until it answers; `what` completes "Could not …".

    Raises:
        PublishError: the token or the name is refused.
        HubError: the Hub failed.
    """
    try:
        return retried(call, Patience(delays=delays, seconds=seconds))
    except Exception as error:
        raise explain(api, error, f"Could not {what}") from error


def answer_of(error: BaseException | None) -> HfHubHTTPError | None:
    """Server's answer that an error is about, if any; the client wraps some in errors of its own."""
    while error is not None:
        if isinstance(error, HfHubHTTPError) and getattr(error, "response", None) is not None:
            return error
        error = error.__cause__
    return None


def status_of(error: Exception) -> int | None:
    """Status of the server's answer that an error is about."""
    answer = answer_of(error)
    return answer.response.status_code if answer else None


def is_transient(error: Exception) -> bool:
    """Whether waiting may help: the server's faults and the network's, not a refusal, nor what is wrong here."""
    status = status_of(error)
    if status is not None:
        return status in WORTH_RETRYING or (status >= 500 and status not in REFUSALS)
    if isinstance(error, LocalEntryNotFoundError):  # the client's word for a download that got no answer
        return True
    return not is_local(error) and not isinstance(error, ValueError | TypeError | AssertionError)


def is_local(error: Exception) -> bool:
    """Whether a file of this machine is at fault, a full disk say, and no server."""
    return isinstance(error, OSError) and error.filename is not None


def explain(api: HfApi, error: Exception, what: str) -> Exception:
    """One paragraph on a failed call; a server's answer that echoes the token is quoted without it."""
    if isinstance(error, HubError | PublishError) or is_local(error):
        return error
    words = [str(error)] if (answer := answer_of(error)) in (None, error) else [str(error), str(answer)]
    said = " ".join(" ".join(words).split())
    if isinstance(api.token, str):
        said = said.replace(api.token, "***")
    if status_of(error) in (401, 403):
        return PublishError(
            f"{what}: {said}. Check that HF_TOKEN is valid and has write access to this namespace, and that HF_ENDPOINT "
            f"({api.endpoint}) is the server it belongs to."
        )
    if is_transient(error):
        return HubError(f"{what}: {said or type(error).__name__}. Running again is safe and completes what is missing.")
    remedy = REMEDIES.get(status_of(error) or 0, "Change what it names; asking again as it is changes nothing.")
    return PublishError(f"{what}: the Hub at {api.endpoint} refuses it: {said.rstrip('.')}. {remedy}")
