"""`python -m fdbpl`: the same as the command `fdbpl`."""

from fdbpl.cli import main

main()
