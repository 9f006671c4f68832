"""`python -m seesay` is the `seesay` command."""

from seesay.cli import main

main()
