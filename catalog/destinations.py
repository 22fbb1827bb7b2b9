"""Where releases go to and come from. A new destination is a row here and its code in a file of publishers/destinations."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Kind:
    """One kind of destination."""

    name: str
    """How manifests (`publish.to`), requests, records and `--at` begin to write it."""
    title: str
    """What it is, for a person."""
    code: str
    """Class that does the work, a `publishers.destinations.destination.Destination`: `module:class`, loaded when needed."""
    path: bool = False
    """Whether a colon and a path follow the name: `directory:/mnt/share`."""
    network: bool = False
    """Whether it is reached over the network, and so never asked while offline."""
    token: bool = False
    """Whether publishing takes the token in HF_TOKEN, and a namespace that is the token's."""

    @property
    def form(self) -> str:
        """How it is written."""
        return f"{self.name}:PATH" if self.path else self.name


DESTINATIONS = {
    kind.name: kind
    for kind in (
        Kind("local", "the local hub", "publishers.destinations.local:Local"),
        Kind(
            "hub", "the Hugging Face Hub, or HF_ENDPOINT", "publishers.destinations.hub:Hub", network=True, token=True
        ),
        Kind(
            "directory",
            "a directory, such as a mounted share",
            "publishers.destinations.directory:Directory",
            path=True,
        ),
    )
}
FORMS = tuple(kind.form for kind in DESTINATIONS.values())


def kind_of(address: str) -> Kind:
    """Return the kind of a destination as it is written, such as `hub`.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    name, colon, path = address.partition(":")
    kind = DESTINATIONS.get(name)
    if kind is None or kind.path != bool(colon) or kind.path != bool(path):
        near = [kind.form] if kind else get_close_matches(address, FORMS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"is {address!r}; allowed: {', '.join(FORMS)}{hint}")
    return kind


def path_of(address: str) -> str:
    """Return what follows the name of the kind; empty for a kind that takes no path."""
    return address.partition(":")[2]


def checked(address: str) -> str:
    """Return the address as it is. Raises ValueError when it is none."""
    kind_of(address)
    return address
