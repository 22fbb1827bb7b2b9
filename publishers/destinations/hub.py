"""The Hugging Face Hub, or any server that speaks its API at `HF_ENDPOINT`: the same release, one commit, one tag."""

from __future__ import annotations

import os

from huggingface_hub import HfApi, constants

from catalog.tokens import hub_token
from publishers.destinations import protocol
from publishers.errors import PublishError
from publishers.progress import progress
from publishers.request import Place
from publishers.stage import Staged

STEPS = 4


def connect(*, write: bool) -> HfApi:
    """Client for `HF_ENDPOINT` with the token of `HF_TOKEN`; reading needs no token.

    Both come from the environment alone: a request, a record or a log never holds a token.

    Raises:
        PublishError: the environment says to stay offline, or names no token for writing.
        InputError: what it names as a token cannot be one.
    """
    if constants.HF_HUB_OFFLINE:
        raise PublishError(
            "The environment says HF_HUB_OFFLINE=1, so the Hub cannot be reached: unset it, or use the local hub alone."
        )
    token = hub_token()
    if write and not token:
        raise PublishError(
            "Publishing to the Hub needs a token with write access in the environment variable HF_TOKEN: create a "
            "fine-grained one for the namespace you publish to and export it where the run starts."
        )
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    return HfApi(endpoint=endpoint, token=token or False, library_name="quantmill")


def preflight(api: HfApi, name: str, private: bool) -> None:
    """Make sure that the token may write to the release's repository; create the repository when there is none."""
    protocol.preflight(api, name, private)


def publish(api: HfApi, staged: Staged) -> Place:
    """Put a release on the Hub. Content that is at the head of `main` already keeps its commit and version.

    Raises:
        PublishError: the repository is somebody's, somebody else committed meanwhile, or the token does not suffice.
        HubError: the Hub did not answer as it should; what landed is whole, and publishing again completes it.
    """
    name = staged.name
    progress(f"upload {name}", 1, STEPS)
    commit = protocol.commit(api, staged)
    progress(f"check {name} on the Hub", 2, STEPS)
    protocol.confirm(api, staged, commit)
    progress(f"tag {name}", 3, STEPS)
    version = protocol.tag(api, name, commit)
    return Place(to="hub", version=version, commit=commit, url=f"{api.endpoint}/{name}/tree/{version}")
