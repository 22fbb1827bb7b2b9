"""What publishing refuses, and what it could not do."""

from __future__ import annotations

from catalog.errors import EnvironmentFault, InputError, NetworkFault


class PublishError(InputError):
    """The release, its name, its place or its token is at fault; the message says what, where and what to do."""


class DestinationFault(EnvironmentFault):
    """A destination on this machine, or a share that it mounts, cannot take releases."""


class HubError(NetworkFault):
    """The Hub, or the way to it, failed; nothing is wrong with what was asked, and asking again is safe."""
