"""`python -m src`: the same commands as the built script, from the sources. Not bundled."""

import sys

import build
import repository
from src.main import main

code = build.describe_code(build.ROOT, build.collect_sources(build.ROOT))
if problem := repository.git_problem(build.ROOT):
    print(f"warning: no commit is recorded. {problem}", file=sys.stderr)
sys.exit(main(sys.argv[1:], {"code": code, "recipe": "baseline", "overrides": []}))
