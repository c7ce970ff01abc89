"""`python -m src`: the same commands as the built script, from the sources. Not bundled."""

import sys

import build
from src.main import main

source = build.describe(build.ROOT, build.collect(build.ROOT))
sys.exit(main(sys.argv[1:], source | {"recipe": "baseline", "overrides": []}))
