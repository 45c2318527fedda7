"""`python -m infra.apps` is the command `aybiza`."""

from infra.apps.cli import main

main()
