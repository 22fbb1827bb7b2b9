"""Create the Prefect deployment of the nightly flow, with its schedule, on a work pool."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Cron

from flows.nightly import nightly

ROOT = Path(__file__).parent.parent
NAME = "nightly"


def deploy(manifests: Path, home: Path, *, cron: str, timezone: str, pool: str) -> str:
    """Create or update the deployment; return its full name.

    The pool is of type process, made when it is not there. No deployment limit is set: with its lease lost in a server
    restart Prefect would throw a finished task away. One run at a time is the worker's `--limit 1` and the store's lock.
    """
    # A pool of that name is ours from before, or the user's own: either serves.
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    source = nightly.from_source(source=str(ROOT), entrypoint="flows/nightly.py:nightly")
    source.deploy(  # type: ignore[union-attr]
        name=NAME,
        work_pool_name=pool,
        schedules=[Cron(cron, timezone=timezone)],
        parameters={"manifests": str(manifests.absolute()), "home": str(home.absolute())},
        print_next_steps=False,
        ignore_warnings=True,
    )
    return f"nightly/{NAME}"
