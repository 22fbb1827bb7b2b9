"""Errors a user can mend; the message is one paragraph: what, where, what to do."""


class FetchError(ValueError):
    """A model or text that is there but is not what the manifest says."""


class UsageError(ValueError):
    """A command that cannot be carried out as given."""
