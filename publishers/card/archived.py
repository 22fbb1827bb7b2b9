"""What a card says of a release that only an archived stack loads: what to take instead, and what that would change."""

from __future__ import annotations

from catalog.formats import FORMATS
from catalog.tasks import TASKS
from publishers.request import Subject


def archived(subject: Subject, own_bytes: int) -> str:
    """Return the paragraph: the recipe that is kept up, and the measured difference if both were gated in one manifest."""
    equal = subject.equal
    assert equal is not None
    recipe = equal.recipe
    said = (
        f"**Archived.** {FORMATS[subject.format].packages[0]} is no longer maintained, and nothing else loads this. Its equal "
        f"that is: the recipe `{equal.name}`, {recipe['dtype']} in groups of {recipe['group_size']} by engine {recipe['engine']} "
        f"in format {recipe['format']}."
    )
    if equal.target is None or equal.own is None or equal.theirs is None or equal.bytes is None:
        return f"{said} It was not gated beside this one, so the difference is not known."
    what = next((each.words.format(where="") for each in TASKS[subject.task].quantities if each.name == equal.harm), "")
    return (
        f"{said} As target `{equal.target}` of the same manifest, on the {equal.documents} {TASKS[subject.task].rows} that both "
        f"were scored on, it measured {equal.theirs:.5f} where this one measured {equal.own:.5f} "
        f"({what or equal.harm}; difference {equal.own - equal.theirs:+.5f}), in {equal.bytes / 1e6:,.2f} MB instead of "
        f"{own_bytes / 1e6:,.2f} MB."
    )
