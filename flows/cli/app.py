"""The command line. Exit codes: 0 all passed, 1 a gate failed, 2 bad input, 3 a step failed, 4 the machine is at fault."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Annotated

import click
import typer
from rich.text import Text

from catalog.errors import StepFault
from catalog.foreign_errors import as_fault
from flows.cli.commands.deploy import deploy
from flows.cli.commands.diff import diff
from flows.cli.commands.doctor import doctor
from flows.cli.commands.engine import engine
from flows.cli.commands.gc import gc
from flows.cli.commands.init import init
from flows.cli.commands.list import list_releases
from flows.cli.commands.merge import merge
from flows.cli.commands.plan import plan
from flows.cli.commands.presets import presets
from flows.cli.commands.pull import pull
from flows.cli.commands.rebuild import rebuild
from flows.cli.commands.repair import repair
from flows.cli.commands.report import report
from flows.cli.commands.rm import rm
from flows.cli.commands.rollback import rollback
from flows.cli.commands.run import run
from flows.cli.commands.show import show
from flows.cli.commands.verify import verify
from flows.cli.console import err, print_json, show_whatever_the_encoding
from flows.scrubbing import scrub_logs, scrub_terminal

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""

app = typer.Typer(
    help="Turn models into small, fast versions that are proven good.",
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,  # click does
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., None]] = {
    "init": init,
    "presets": presets,
    "plan": plan,
    "run": run,
    "report": report,
    "deploy": deploy,
    "list": list_releases,
    "show": show,
    "diff": diff,
    "pull": pull,
    "merge": merge,
    "verify": verify,
    "repair": repair,
    "rebuild": rebuild,
    "rollback": rollback,
    "rm": rm,
    "gc": gc,
    "doctor": doctor,
}
for name, verb in VERBS.items():
    app.command(name)(verb)
app.add_typer(engine, name="engine")


@dataclass
class Settings:
    """What is said before the verb and holds for all of them."""

    debug: bool = False


def _show_version(asked: bool) -> None:
    if asked:
        print(f"quantmill {version_of('quantmill')}")
        raise typer.Exit


@app.callback()
def before_the_verb(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Keep what is said before the verb."""
    context.obj.debug = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error becomes one paragraph, or with --json one JSON object.

    Prints no secret, and characters near those that the terminal lacks.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    show_whatever_the_encoding()
    scrub_logs()
    scrub_terminal()
    settings, tell = Settings(), _tell_as_json if "--json" in arguments else _tell
    try:
        code = app(arguments, prog_name="quantmill", standalone_mode=False, obj=settings)
    except click.ClickException as error:
        return tell("Error", _usage(error), type(error).__name__, error.exit_code)
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        fault = as_fault(error)
        hint = "\nRun `quantmill --debug …` with the same verb after it for the traceback."
        unforeseen = type(fault) is StepFault and not settings.debug
        return tell(fault.label, str(fault) + hint * unforeseen, type(fault).__name__, fault.exit_code)
    if code == INTERRUPTED:  # click catches Ctrl-C and returns this
        kept = "what was finished is kept; the same command goes on from there."
        return tell("Interrupted", kept, "KeyboardInterrupt", INTERRUPTED)
    return int(code or 0)


def _usage(error: click.ClickException) -> str:
    """Return what is wrong with a command line that cannot be parsed."""
    if isinstance(error, click.NoSuchOption) and error.option_name in ("--debug", "--version"):
        return f"{error.option_name} goes before the verb: quantmill {error.option_name} …"
    context = error.ctx if isinstance(error, click.UsageError) else None
    return error.format_message() + (f" ({context.command_path} -h says what it takes)" if context else "")


def _tell(label: str, message: str, kind: str, code: int) -> int:
    err.print(Text.assemble((f"{label}: ", "red"), message), soft_wrap=True)
    return code


def _tell_as_json(label: str, message: str, kind: str, code: int) -> int:
    print_json({"error": message, "kind": kind, "exit_code": code})
    return code


if __name__ == "__main__":
    sys.exit(main())
