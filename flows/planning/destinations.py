"""Whether what a plan releases could be published where it is to go: asked before hours of work, not after."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from catalog.destinations import kind_of
from catalog.errors import NetworkFault
from catalog.tokens import hub_token
from flows.errors import UsageError
from flows.planning.plan import Plan
from publishers.destinations.client import is_offline
from publishers.destinations.destination import open_destination

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Questions to one server at a time."""


def refuse_without_access(plan: Plan) -> None:
    """Miss a token that is missing, or the network that is not to be used. Raises UsageError."""
    for planned in plan.stale:
        publish = planned.job.manifest.publish
        for kind in map(kind_of, publish.to):
            where = f"{planned.job.manifest.path}: publish.to names {kind.title}"
            if kind.network and is_offline():
                raise UsageError(f"{where}, and HF_HUB_OFFLINE says to stay offline: unset it, or publish to local")
            if kind.token and not hub_token():
                raise UsageError(
                    f"{where}, which takes a token with write access to {publish.namespace} in HF_TOKEN, and there is none: "
                    "set it, or publish to local"
                )


def refuse_unpublishable(plan: Plan, home: Path) -> None:
    """Ask every destination for all that is to go there. One that cannot be asked now, or is away, is left for later.

    Raises:
        InputError: a name is somebody else's there, or the token does not suffice.
        EnvironmentFault: a directory cannot take releases.
    """
    wanted: dict[tuple[str, bool], list[str]] = {}
    for planned in plan.stale:
        publish = planned.job.manifest.publish
        for address in publish.to:
            wanted.setdefault((address, publish.private), []).append(planned.job.release)
    for (address, private), names in wanted.items():
        kind = kind_of(address)
        if kind.network and (is_offline() or (kind.token and not hub_token())):
            continue
        ask = partial(open_destination(address, home, private=private).preflight, patient=False)
        if not kind.network:
            for name in names:
                ask(name)
            continue
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            list(pool.map(ask, names))
        except NetworkFault as away:
            log.warning("%s It is asked again when there is something to publish.", away)
        finally:
            pool.shutdown(cancel_futures=True)
