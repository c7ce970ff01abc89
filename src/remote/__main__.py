"""`python -m src.remote`: the commands of the round trip."""

import sys

from src.remote.main import main

sys.exit(main(sys.argv[1:]))
