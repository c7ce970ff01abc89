"""Builds src/ into kernel/fer2013.py: one readable script that a Kaggle kernel can run without anything beside it.

    python build.py                                        the baseline recipe
    python build.py --recipe NAME --set key=value …        another recipe, with its overrides, built in
    python build.py --owner NAME                           and write another owner into kernel-metadata.json
    python build.py --check                                build in memory and check, write nothing

The script holds the sources as plain text, writes them as real files into a temporary folder at its start and imports
them normally. So a traceback names src/….py and its line, and classes pickle into spawned workers. Base64 would hide
the code, import hooks break workers, and concatenation puts every name into one scope. Two builds of one tree are the
same bytes. Standard library only.
"""

import argparse
import ast
import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kernel_metadata
import repository
from kernel_metadata import BuildError

ROOT = Path(__file__).resolve().parent
OUTPUT = "kernel/fer2013.py"
ENTRY = "src/main.py"
MAX_BYTES = 1_000_000  # the server refuses a source of one megabyte or more

# What the image of Kaggle's kernels has, by import name. Internet is off in the kernel: nothing can be added there.
KERNEL_IMAGE = """
torch torchvision timm numpy pandas sklearn scipy safetensors matplotlib PIL tqdm kornia torchmetrics wandb tensorboard
rich einops seaborn optuna jinja2 pydantic huggingface_hub
"""
# Imports under a name that only the run knows: the build could not tell what to bundle.
DYNAMIC = "import_module __import__ iter_modules walk_packages run_module run_path spec_from_file_location"

# Which files: all of src/, in the order of their imports -------------------------------------------------------------


def collect_sources(root: Path) -> dict[str, bytes]:
    """Returns path -> bytes of all files of src/, each after those that it imports, src/main.py last.

    Raises BuildError with all problems at once.
    """
    if not (root / ENTRY).is_file():
        raise BuildError(f"{ENTRY}: not found in {root}")
    sources, seen, problems = {}, set(), []

    def visit(path: str) -> None:
        if path in seen:
            return
        seen.add(path)
        content = (root / path).read_bytes()
        reached, wrong = check_source(root, path, content)
        problems.extend(wrong)
        for other in reached:
            visit(other)
        sources[path] = content

    # A regular `src` package anywhere on the path, and some installed packages bring one, wins over a namespace package
    # that comes before it. So the bundle's `src` is always a regular one.
    if not (root / "src/__init__.py").is_file():
        sources["src/__init__.py"] = b""
    for path in files_of(root, "src.main"):
        visit(path)
    for path in sorted(bundled_files(root)):  # what src/main.py does not reach
        visit(path)
    if problems:
        raise BuildError("\n".join(problems))
    return sources | {ENTRY: sources.pop(ENTRY)}


def bundled_files(root: Path) -> set[str]:
    """The Python files below src/, but for src/__main__.py, which starts the sources outside a kernel."""
    found = {file.relative_to(root).as_posix() for file in (root / "src").rglob("*.py")}
    return found - {"src/__main__.py"}


def check_source(root: Path, path: str, content: bytes) -> tuple[list[str], list[str]]:
    """Returns the files of src/ that this one imports, in the order of its imports, and what is wrong with it."""
    try:
        content.decode("utf-8")  # a coding cookie could allow other encodings; one script can only have one
        tree = ast.parse(content, path)
    except (SyntaxError, ValueError) as error:
        return [], [f"{path}:{getattr(error, 'lineno', None) or 1}: cannot be read as Python in UTF-8: {error}"]
    reached: list[str] = []
    problems = list(forbidden_nodes(tree))
    for line, module, names in absolute_imports(tree, path):
        try:
            reached += resolve_import(root, module, names)
        except LookupError as error:
            problems.append((line, error.args[0]))
    return reached, [f"{path}:{line}: {reason}" for line, reason in sorted(problems)]


def forbidden_nodes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields line and reason of everything that cannot work, or cannot be checked, inside a bundle."""
    for node in ast.walk(tree):
        named = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        named += [getattr(node, "attr", None), getattr(node, "id", None)]
        for name in set(DYNAMIC.split()).intersection(named):
            yield node.lineno, f"{name}: a dynamic import cannot be bundled; write an import statement"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("exec", "eval"):
            yield node.lineno, f"{node.func.id}() could hide an import; write the code out"
        if isinstance(node, ast.Name) and node.id == "__file__":
            yield node.lineno, "__file__ is a temporary folder in the kernel; nothing lies beside the sources there"


def absolute_imports(tree: ast.AST, path: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yields line, absolute module and names of each import, also inside functions, in the order of the text."""
    package = path.split("/")[:-1]
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        else:
            # One dot is this package, each further dot one up. Beyond the top is an empty name, refused.
            above = package[: max(0, len(package) + 1 - node.level)] or [""]
            module = ".".join((above if node.level else []) + ([node.module] if node.module else []))
            yield node.lineno, module, [alias.name for alias in node.names]


def resolve_import(root: Path, module: str, names: list[str]) -> list[str]:
    """Returns the files of src/ that `import module` or `from module import names` runs; raises LookupError(reason)."""
    top = module.split(".")[0]
    if top != "src":
        if not top:
            raise LookupError("a relative import that leaves src")
        if top not in sys.stdlib_module_names and top not in KERNEL_IMAGE.split():
            raise LookupError(f"{top} is neither standard library nor in the kernel's image (KERNEL_IMAGE in build.py)")
        return []
    modules = [f"{module}.{name}" for name in names if module_file(root, f"{module}.{name}")]
    file = module_file(root, module)
    if file is None and not names:
        raise LookupError(f"there is no module {module}")
    text = (root / file).read_text(encoding="utf-8", errors="replace") if file else ""
    for name in names:
        # Generous, and enough against typing errors: the word is somewhere in the file, or comes from another one.
        known = name == "*" or "import *" in text or re.search(rf"\b{name}\b", text)
        if f"{module}.{name}" not in modules and not known:
            raise LookupError(f"there is no {name} in {module}")
    return [path for name in [module, *modules] for path in files_of(root, name)]


def module_file(root: Path, module: str) -> str | None:
    """The file of a module of src/; None for a folder without __init__.py and for what is not there."""
    stem = module.replace(".", "/")
    return next((path for path in (f"{stem}/__init__.py", f"{stem}.py") if (root / path).is_file()), None)


def files_of(root: Path, module: str) -> list[str]:
    """The files that importing a module of src/ runs: the __init__.py of each parent that has one, then its own."""
    parts = module.split(".")
    parents = [f"{'/'.join(parts[:end])}/__init__.py" for end in range(1, len(parts))]
    file = module_file(root, module)
    return [path for path in parents if (root / path).is_file()] + ([file] if file else [])


# The script: its head, the sources, and the start ---------------------------------------------

HEAD = '''"""FER2013 kit: trains the networks of one recipe on the FER2013 faces, blends them and writes submission.csv.

    python fer2013.py            in a Kaggle kernel: the recipe below; elsewhere: a trial run on synthetic faces
    python fer2013.py --help     the other commands

To train another recipe, change RECIPE and OVERRIDES below. The section src/recipes.py holds all recipes, the section
src/config.py all settings.

This script was built by build.py. It holds the project's src/, file by file as plain text. The last section, "start",
writes these files into a temporary folder and imports them from there, so a traceback names src/….py and its line.
"""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

'''

START = '''
# ==== start: write the sources as real files, put them first in the path, run src.main =============


def private_folder() -> Path:
    """The folder for the sources. Its files are executed: it must belong to this user and be closed to all others."""
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows: one temporary folder a user
    folder = Path(tempfile.gettempdir(), f"fer2013-{user}-{CODE['digest']}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()  # not stat: a link may lead to somebody else's folder
    closed = os.name != "posix" or (found.st_uid == user and not found.st_mode & 0o077)
    if stat.S_ISDIR(found.st_mode) and closed:
        return folder
    return Path(tempfile.mkdtemp(prefix="fer2013-"))


def write_sources(folder: Path) -> None:
    """Makes the folder hold exactly SOURCES, also while other workers start: correct files are never touched, damaged
    ones are replaced in one step, foreign ones are removed."""
    wanted = {folder / path: text[1:].encode() for path, text in SOURCES.items()}
    for place, _, names in os.walk(folder):
        for file in (Path(place, name) for name in names):
            if file not in wanted and file.parent.name != "__pycache__":
                file.unlink(missing_ok=True)
    for file, content in wanted.items():
        if not (file.is_file() and file.read_bytes() == content):
            write_file(file, content)


def write_file(file: Path, content: bytes) -> None:
    """Writes beside the folder, then renames: a reader sees the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)  # it may hold the damaged file's code
    handle, temporary = tempfile.mkstemp(prefix="fer2013-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    os.replace(temporary, file)


def put_first(folder: str) -> None:
    """In this process, and through PYTHONPATH in every one that it starts."""
    sys.path.insert(0, folder)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])


def in_cell() -> bool:
    """Whether a cell of a notebook runs this: the arguments are then those of the notebook's kernel, not the user's."""
    pairs = zip(sys.argv, sys.argv[1:])
    files = [word.removeprefix("--f=") for before, word in pairs if before == "-f" or word.startswith("--f=")]
    return Path(sys.argv[0]).stem.endswith("kernel_launcher") or any(file.endswith(".json") for file in files)


FOLDER = private_folder()
write_sources(FOLDER)
put_first(str(FOLDER))

# A spawned worker runs this file again under the name __mp_main__: it needs the sources, not a second run.
if __name__ == "__main__":
    for name in [name for name in sys.modules if name.split(".")[0] == "src"]:
        del sys.modules[name]  # an earlier cell of a notebook may have run another version of this script
    from src.main import main

    arguments = [] if in_cell() else sys.argv[1:]
    exit_code = main(arguments, bundle={"code": CODE, "recipe": RECIPE, "overrides": OVERRIDES})
    if exit_code or not in_cell():  # a notebook shows any exit of a cell as an error
        sys.exit(exit_code)
'''


def render(sources: dict[str, bytes], header: dict) -> bytes:
    """Returns the script. header: code (a dict), recipe and overrides."""
    texts = {path: content.decode("utf-8") for path, content in sources.items()}
    sections = {path: f'{heading(path)}SOURCES["{path}"] = {quoted(text)}\n' for path, text in texts.items()}
    head, note = HEAD + render_header(header), "# Each text begins with a line end that is not part of its file.\n"
    title = "# ==== contents, by line: the files of src/, each after those that it imports\n"
    line = head.count("\n") + len(f"{title}{note}SOURCES".splitlines()) + len(sections) + 1  # the last before a section
    width, contents = max(map(len, texts)), []
    for path, section in sections.items():
        contents.append(f"# {line + 2:6}  {path:{width}}  {first_line(texts[path])}".rstrip() + "\n")
        line += section.count("\n")
    contents.append(f"# {line + 2:6}  start\n")
    return "".join([head, title, *contents, note, "SOURCES = {}\n", *sections.values(), START]).encode("utf-8")


def render_header(header: dict) -> str:
    """The constants at the top: what runs, and what a result records of these sources."""
    overrides = ", ".join(map(repr, header["overrides"]))
    code = "".join(f"    {key!r}: {value!r},\n" for key, value in header["code"].items())
    return (
        "# ==== what runs\n"
        f"RECIPE = {header['recipe']!r}\n"
        "# For example ['epochs=3', 'batch_size=64'], or ['NAME.epochs=3'] for one of several members.\n"
        f"OVERRIDES = [{overrides}]\n"
        f"# Digest and commit of the sources below; a result records them.\nCODE = {{\n{code}}}\n\n"
    )


def heading(path: str) -> str:
    return f"\n# ==== {path} ====\n"


def read_header(script: bytes) -> dict:
    """The header of a built script, without running it; raises ValueError where it is not one."""
    try:
        tree = ast.parse(script)
        named = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
        return {key: ast.literal_eval(named[key.upper()]) for key in ("code", "recipe", "overrides")}
    except (SyntaxError, KeyError) as error:
        raise ValueError(f"not a built script: {error}") from None


def first_line(text: str) -> str:
    """The first line of a module's docstring."""
    return ((ast.get_docstring(ast.parse(text.removeprefix("\ufeff"))) or "").splitlines() or [""])[0]


def quoted(text: str) -> str:
    """A literal for "\\n" + text, as readable as can be: raw in either kind of quotes, else with few escapes."""
    wanted = "\n" + text
    # A carriage return would be read as a line end; a triple quote inside, or one quote at the end, would end the text.
    escaped = re.sub(r"'(?='')|'\Z", r"\\'", wanted.replace("\\", "\\\\").replace("\r", "\\r"))
    for mark in ("'''", '"""'):
        if mark not in wanted and "\r" not in wanted and wanted[-1] not in (mark[0], "\\"):
            return f"r{mark}{wanted}{mark}"
    return f"'''{escaped}'''"


def code_digest(sources: dict[str, bytes]) -> str:
    """16 hexadecimal digits over the paths and bytes, in the order of the paths; lengths keep neighbours apart."""
    parts = [f"{path}\0{len(content)}\0".encode() + content for path, content in sorted(sources.items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def verify(script: bytes, sources: dict[str, bytes], header: dict) -> None:
    """Reads the script back without running it: it compiles, holds every source byte for byte, and is small enough."""
    tree = ast.parse(script)
    compile(tree, OUTPUT, "exec")
    names = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    for path, content in sources.items():
        if ast.literal_eval(names[f"SOURCES[{path!r}]"])[1:].encode() != content:
            raise BuildError(f"{OUTPUT}: does not hold {path} byte for byte")
    if sum(name.startswith("SOURCES[") for name in names) != len(sources) or read_header(script) != header:
        raise BuildError(f"{OUTPUT}: holds other files or another header than it should")
    if len(script) >= MAX_BYTES:
        raise BuildError(f"{OUTPUT}: {len(script):,} bytes; Kaggle refuses {MAX_BYTES:,} and more")


# The recipe that is built in ----------------------------------------------------------------------------------------

# In a process of its own: the tree's src is imported, and the one that runs this build may have another src loaded.
ASK_FOR_RECIPE = """
import sys
from src import contradictions, errors, recipes
try:
    contradictions.configure(recipes.get(sys.argv[1]), sys.argv[2:])
except errors.UserError as error:
    sys.exit(str(error))
"""


def check_recipe(root: Path, recipe: str, overrides: list[str]) -> None:
    """Raises BuildError if the tree's recipes do not know the recipe, or its configuration refuses an override."""
    for override in overrides:
        if "=" not in override:
            raise BuildError(f"--set {override}: must be key=value")
    if not (root / "src/recipes.py").is_file():
        return
    command = [sys.executable, "-B", "-c", ASK_FOR_RECIPE, recipe, *overrides]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if answer.returncode:
        raise BuildError(f"--recipe {recipe}: {answer.stderr.strip()}")


# Putting it together ----------------------------------------------------------------------------------------------


def describe_code(root: Path, sources: dict[str, bytes]) -> dict:
    """Returns what a result records of its sources: their digest, the commit, and whether src/ has changed since."""
    commit = repository.git(root, "rev-parse", "--short", "HEAD")
    changed = repository.git(root, "status", "--porcelain", "--", "src")
    return {"digest": code_digest(sources), "commit": commit or "unknown", "dirty": bool(changed)}


def build(root: Path, output: Path, recipe: str, overrides: list[str], check: bool = False) -> str:
    """Builds the tree under `root` into `output`, or only in memory; returns a line about it, raises BuildError."""
    if output.is_dir():  # an empty path, too, is the current folder
        raise BuildError(f"--output {output}: a folder; name the script's file")
    sources = collect_sources(root)
    check_recipe(root, recipe, overrides)
    inside = output.resolve().is_relative_to(root.resolve())
    name = output.resolve().relative_to(root.resolve()).as_posix() if inside else str(output)
    # A build that goes elsewhere, for a test or a trial, is not the one that is pushed.
    kernel_metadata.check_metadata(root, name if inside else OUTPUT)
    header = {"code": describe_code(root, sources), "recipe": recipe, "overrides": overrides}
    script = render(sources, header)
    verify(script, sources, header)
    if not check:
        kernel_metadata.write_atomically(output, script)
    code = header["code"]
    state = f"commit {code['commit']}{' (dirty)' if code['dirty'] else ''}, recipe {' '.join([recipe, *overrides])}"
    size = f"{len(sources)} files, {len(script):,} bytes"
    return f"{name}: {size}, digest {code['digest']}, {state}"


def push_hint(root: Path) -> str:
    """How to push, or why the client alone cannot."""
    if obstacle := kernel_metadata.push_obstacle(root):
        return f"kaggle kernels push will fail: {obstacle}"
    # A limit that no key of the file can set.
    bare = f"kaggle kernels push --timeout {kernel_metadata.HOURS * 3600:.0f}"
    return f"to push: python -m remote push; with the client alone: {bare}"


def print_lines(lines: list[str]) -> None:
    """Prints; a reader that leaves early, such as `head`, is no error, nor is a character that the terminal lacks."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again at its end


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line; returns 0, or 2 for what the user can put right."""
    parser = argparse.ArgumentParser(description="Builds src/ into one script for a Kaggle kernel.")
    add = parser.add_argument
    add("--recipe", default="baseline", help="the recipe that a bare start in the kernel runs (default: baseline)")
    add("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="its overrides")
    add("--output", type=Path, default=root / OUTPUT, help=f"where to write the script (default: {OUTPUT})")
    one = parser.add_mutually_exclusive_group()
    owner = f"write your Kaggle name into {kernel_metadata.NAME}; without NAME, the one that the Kaggle client knows"
    one.add_argument("--owner", nargs="?", const="", metavar="NAME", help=owner)
    one.add_argument("--check", action="store_true", help="build in memory and check, write nothing")
    options, unknown = parser.parse_known_args(arguments)
    try:
        if unknown:
            raise BuildError(f"{' '.join(unknown)}: not known; write --recipe NAME, --set key=value, --owner NAME")
        if options.owner is not None:
            kernel_metadata.set_owner(root, options.owner)
        lines = [build(root, options.output, options.recipe, options.overrides, options.check)]
        if problem := repository.git_problem(root):
            lines.append(f"warning: no commit is recorded. {problem}")
        if not options.check and options.output.resolve() == (root / OUTPUT).resolve():
            lines.append(kernel_metadata.fill_in_owner(root))
        lines.append(push_hint(root))
    except BuildError as refused:
        print(refused, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print_lines(list(filter(None, lines)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        print_lines([])  # what argparse may have left
