"""`python -m stoker.worker.cli`."""

from stoker.worker.cli import main

main()
