"""``python -m xpm``."""

from xpm.cli.main import main

main()
