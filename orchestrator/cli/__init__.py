"""The command line. Each verb imports what it needs when called, so that `--help` and the readers start at once."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import cast

import typer

from orchestrator.errors import OrchestratorError

VERBS = (
    "sweeps", "submitting", "exchanging", "fits", "suggesting", "serving", "clusters", "preparing", "coordinates",
    "doctoring",
)  # fmt: skip
"""Modules that register verbs, in the order in which `--help` shows them."""

USAGE_ERROR = typer.BadParameter.__mro__[1]
"""Click's usage error, of which typer exports a subclass alone; it exits with 1 here, as every mistake of the user's."""

app = typer.Typer(
    name="isoflop",
    help="Scaling-law sweeps: many small training runs, the laws fitted to them, and the size and data of the big one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of `isoflop`: errors that a user can cause are one message, never a traceback."""
    from orchestrator.version import refuse_shadowed_packages

    try:
        refuse_shadowed_packages()
        for module in VERBS:
            import_module(f"orchestrator.cli.{module}")
        sys.exit(app(standalone_mode=False))
    except OrchestratorError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        from orchestrator.store.local import DISK_ERRORS, disk_failure

        if error.errno not in DISK_ERRORS:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # it may be what is full
        _fail(str(disk_failure(error.filename or "a file", error)), 3)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except Exception as error:
        if isinstance(error, USAGE_ERROR):
            cast(typer.BadParameter, error).show()
            sys.exit(1)
        if type(error).__module__.split(".")[0] in ("analysis", "trainer"):
            _fail(str(error), 1)
        raise


def _fail(message: str, code: int) -> None:
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)
    sys.exit(code)
