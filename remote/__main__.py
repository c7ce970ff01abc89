"""`python -m remote`: the commands of the round trip."""

import sys

from remote.main import main

sys.exit(main(sys.argv[1:]))
