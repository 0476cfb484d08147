"""``python -m streamfilter``: the command line."""

from streamfilter.cli import main

main()
