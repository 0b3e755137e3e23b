"""The command line: one verb a function, nothing heavy imported before a verb runs.

Results go to standard output, progress and logs to standard error. Exit status: 0 done, or stopped by SIGTERM and saved;
1 the work failed; 2 the request was wrong; 130 interrupted. A mistake of the user's ends in one line; `--debug` before the
verb shows the traceback.
"""

from __future__ import annotations

import os
import sys

import typer

from yanmo.cli.app import app
from yanmo.core.errors import YanmoError
from yanmo.core.messages import text

# Each puts its verbs on the application, in the order in which the help shows them.
from yanmo.cli import recipes, models, results, advice, data, search  # noqa: F401  # isort: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(args=arguments, standalone_mode=False, prog_name="yanmo")
        return result if isinstance(result, int) else 0
    except YanmoError as error:
        if "--debug" in arguments:
            raise
        print(f"yanmo: {error}", file=sys.stderr)
        return error.exit_status
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("yanmo: " + str(text("interrupted; run the same command again to go on")), file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if "--debug" in arguments or error.filename is None:
            raise
        print(f"yanmo: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except Exception as error:
        if not hasattr(error, "format_message") or "--debug" in arguments:
            raise
        message = " ".join(error.format_message().split())
        if message:
            print(f"yanmo: {message} - " + str(text("see 'yanmo --help'")), file=sys.stderr)
        return getattr(error, "exit_code", 2)
