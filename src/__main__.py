"""`python -m src`: the same commands as the built script, from the sources. Not bundled."""

import sys
from pathlib import Path

import build
from src.main import main

sys.exit(main(sys.argv[1:], build.describe(Path(build.__file__).parent, "baseline", [])))
