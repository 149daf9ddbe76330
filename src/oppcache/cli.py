"""The command line: verbs that call the rooms, one place for exit status, logging and how errors look.

Each verb is a file of :mod:`oppcache.verbs`. It returns or raises: :class:`~oppcache.opp.errors.OppCacheError` becomes one line a problem on stderr and its
exit status, anything unforeseen one line and status 70.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from oppcache import __version__
from oppcache.opp.errors import OppCacheError
from oppcache.verbs import add_verbs
from oppcache.verbs.common import BAD_INPUT, FINE, INTERNAL, INTERRUPTED, Settings

log = logging.getLogger("oppcache")

REPORT_TO = "please report it with the command and its input, and with what -v shows"

app = typer.Typer(
    name="oppcache",
    help="A smart NIC as a cache in front of a software OPP data plane.\n\n"
    "Experiments are YAML files; runs give tables and figures.\n\n"
    "Example: oppcache run gallery:quickstart\n\n"
    "Exit status: 0 fine; 1 checked, and it does not hold; 2 bad usage or bad input; "
    "3 undecided, or some runs failed; 70 internal error; 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oppcache {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log more; show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr, no progress.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    Settings.verbose, Settings.quiet = verbose, quiet
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LowerLevel("%(levelname)s: %(message)s"))
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level)


class _LowerLevel(logging.Formatter):
    """``warning: text``, as errors look; what is merely told has no prefix."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return prefix + record.getMessage()


add_verbs(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; the entry point of the console command."""
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    Settings.verbose = Settings.quiet = False
    try:
        status = app(args=arguments, prog_name="oppcache", standalone_mode=False)
        sys.stdout.flush()
    except OppCacheError as error:
        for problem in error.problems:
            _say(f"error: {problem}")
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as left:
        # Typer turns a broken pipe into this.
        return _reader_left() if isinstance(left.__context__, BrokenPipeError) else int(left.code or 0)
    except Exception as error:
        return _unforeseen(error)
    if status == INTERRUPTED:
        _say("interrupted; what is done is kept, repeat the command to go on")
    return status if isinstance(status, int) else FINE


def _reader_left() -> int:
    """Whoever read our output has seen enough, as ``head`` does: be quiet about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FINE


def _unforeseen(error: Exception) -> int:
    """Tell apart wrong usage, which Typer reports with an exit code and words, from a bug."""
    words, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if callable(words) and isinstance(code, int):
        if type(error).__name__ == "NoArgsIsHelpError":
            _say(words())
            return BAD_INPUT
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        _say(f"error: {words()}{hint}")
        return BAD_INPUT
    if isinstance(error, typer.Exit):
        return error.exit_code
    if Settings.verbose:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    _say(f"internal error: {what}; {REPORT_TO}")
    return INTERNAL


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
