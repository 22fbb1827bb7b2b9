"""What planning asks the Hub: commits of names, and the headers of weights that nobody has fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from catalog.errors import InputError
from publishers.destinations.client import apply_hub_settings
from publishers.errors import HubError

_DELAYS = (1.0, 4.0)
"""Seconds between attempts to reach the Hub: somebody may be sitting there."""

T = TypeVar("T")


class SourceError(InputError):
    """A model or data set that cannot be pinned; the message says what to do."""


class Headers(BaseModel):
    """What is kept of a Hub model that was not fetched."""

    tensors: dict[str, tuple[str, tuple[int, ...], int]]
    """Name → dtype, shape and bytes."""
    config: dict[str, Any]


def ask_hub(what: str, question: Callable[[], T], delays: Sequence[float] = _DELAYS) -> T:
    """Ask the Hub, again where that helps. Raises SourceError: the name is at fault; HubError: the way there is."""
    apply_hub_settings()
    from huggingface_hub.errors import NotASafetensorsRepoError

    from publishers.destinations.patience import Patience, is_local, is_transient, retried

    try:
        return retried(question, Patience(delays=delays))
    except NotASafetensorsRepoError as error:
        raise SourceError(f"{what} has no safetensors weights: convert them and name a revision that has") from error
    except Exception as error:  # what the network raises differs between versions of huggingface_hub
        if is_local(error):
            raise
        said = " ".join(str(error).split()) or "no words"
        if is_transient(error):
            raise HubError(
                f"the Hub cannot be reached for {what}, or does not answer as it should ({type(error).__name__}: {said}): "
                "check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use what was fetched before"
            ) from error
        raise SourceError(
            f"the Hub does not show {what} ({said}): check the spelling and the revision; a private or gated one needs a "
            "token with access in HF_TOKEN"
        ) from error


def resolve(kind: str, source: str, revision: str) -> str:
    """Return the commit that a revision of a `model` or `dataset` is."""
    from huggingface_hub import HfApi

    return str(HfApi().repo_info(source, revision=revision, repo_type=kind).sha)


def headers(source: str, commit: str) -> Headers:
    """Read the headers of a model's weight files from the Hub with range requests; no weight is transferred."""
    from huggingface_hub import HfApi, hf_hub_download

    metadata = HfApi().get_safetensors_metadata(source, revision=commit)
    config = json.loads(Path(hf_hub_download(source, "config.json", revision=commit)).read_bytes())
    tensors = {
        name: (info.dtype, info.shape, info.data_offsets[1] - info.data_offsets[0])
        for file in metadata.files_metadata.values()
        for name, info in file.tensors.items()
    }
    return Headers(tensors=tensors, config=config)
