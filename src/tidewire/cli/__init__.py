"""The command line: serve, pub, sub, history, config, version.

Exit codes: 0 done, 1 it did not work, 2 asked for something that is not possible (a wrong flag, a
wrong setting), 130 interrupted before it was done. Results go to standard output as JSON lines,
everything else to standard error.
"""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        from tidewire.cli.app import app

        app(prog_name="tidewire")
    except KeyboardInterrupt:  # before the command could take care of it
        raise SystemExit(130) from None
