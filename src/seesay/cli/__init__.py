"""The command line: `seesay VERB`. Heavy libraries load only inside the verb that needs them."""

from __future__ import annotations


def main() -> None:
    """Run the command line; errors that a user can mend end in one line and exit code 1."""
    from seesay.cli.app import run

    run()


__all__ = ["main"]
