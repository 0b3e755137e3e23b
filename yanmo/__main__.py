"""`python -m yanmo`, and the console script."""

import sys


def main() -> None:
    from yanmo.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
