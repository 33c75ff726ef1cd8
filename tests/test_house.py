"""The rules of the house. They read the notebooks, the library and the metadata themselves: a chapter that is added falls under them."""
import ast, io, json, os, re, shutil, subprocess, sys, tokenize
from configparser import ConfigParser
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
import chapters, pytest, tomllib, yaml
from chapters import NBS, ROOT, code_cells, name, read, source
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LIB = ROOT/"course_lib"
MODULES = sorted(o for o in LIB.rglob("*.py") if o.name not in ("__init__.py", "_modidx.py"))
NOTEBOOKS = chapters.notebooks()
CHAPTERS = [o for o in NOTEBOOKS if o.parent == NBS and o.stem[0].isdigit()]
BESIDE = "exercises", "explore", "checks"        # any chapter may use these, and they need none
# The module of a notebook has its name, but for the last chapter and an appendix: those names are promised to readers' code.
CALLED = {"13_moving_to_pytorch": "nn", "B_explorers": "explore"}
CFG = ConfigParser(delimiters=["="], interpolation=None)
CFG.read(ROOT/"settings.ini", encoding="utf-8")
CFG = CFG["DEFAULT"]

def none(bad): # the one way in which a rule fails: everything that breaks it, a line each
    if bad := list(bad): pytest.fail("\n".join(bad), pytrace=False)

def module(path: Path) -> str:
    "`course_lib/checks/data.py` → `checks.data`."
    return ".".join(path.relative_to(LIB).with_suffix("").parts)

def exports_to(path: Path) -> str:
    "The module a notebook exports to, or nothing."
    found = [m[1] for c in code_cells(read(path)) if (m := re.search(r"^#\|\s*default_exp\s+(\S+)", source(c), re.M))]
    assert len(found) < 2, f"{name(path)} names {len(found)} modules"
    return found[0] if found else ""

@cache
def tree(path: Path) -> ast.Module: return ast.parse(path.read_text(encoding="utf-8"))

def python(code: str) -> str:
    "The code of a cell that Python can parse: without %magic and !shell lines."
    return "" if re.match(r"\s*%%", code) else re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.M)

def files() -> list[Path]:
    "Every text file that belongs to the project."
    run = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode: found = [o for o in ROOT.rglob("*") if not re.search(r"[\\/](\.venv|\.git|_build|_book|__pycache__)[\\/]|egg-info", str(o))]
    else: found = [ROOT/o for o in run.stdout.splitlines()]
    return [o for o in found if o.is_file() and b"\0" not in o.read_bytes()[:1024]]

def requirements(key: str) -> list[Requirement]: return [Requirement(o) for o in CFG[key].splitlines() if o.strip()]

OWN = {canonicalize_name(o.name) for o in requirements("requirements")}
DECLARED = OWN.union(*({canonicalize_name(o.name) for o in requirements(f"{k}_requirements")} for k in ("course", "book", "dev")))

@cache
def distributions(top: str) -> set[str]:
    "The names under which an imported package can be installed."
    return {canonicalize_name(o) for o in packages_distributions().get(top, [top])}

# ---- notebooks and modules

def test_one_notebook_one_module():
    bad, seen = [], {}
    for o in NOTEBOOKS:
        mod, stem = exports_to(o), o.stem.partition("_")[2]
        want = CALLED.get(o.stem, stem)
        if o.parent.name == "checks": want = f"checks.{want}"
        if mod and mod != want: bad.append(f"{name(o)} exports to {mod}, not to {want}")
        if o in CHAPTERS and not mod: bad.append(f"{name(o)} exports to no module: `#| default_exp {want}` is missing")
        if mod and mod in seen: bad.append(f"{name(o)} and {seen[mod]} both export to {mod}: one of them is lost")
        if mod: seen[mod] = name(o)
    bad += [f"{module(o)} comes from no notebook" for o in MODULES if module(o) not in seen]
    bad += [f"{o} of {seen[o]} has not been exported: make export" for o in seen if o not in map(module, MODULES)]
    none(bad)

def test_export_and_clean_change_nothing(tmp_path):
    "Nor does README.md: it is what the index notebook gives."
    parts = "nbs", "tools", "course_lib", "README.md", "README_files", "settings.ini", "pyproject.toml", "setup.py"
    for o in parts:
        if (ROOT/o).is_dir(): shutil.copytree(ROOT/o, tmp_path/o, ignore=shutil.ignore_patterns("__pycache__", "_mnist", ".ipynb_checkpoints"))
        elif (ROOT/o).exists(): shutil.copy(ROOT/o, tmp_path/o)
    def all_files(): return {o.relative_to(tmp_path).as_posix(): o.read_bytes() for o in tmp_path.rglob("*") if o.is_file() and o.suffix != ".pyc"}
    before = all_files()
    run = subprocess.run([sys.executable, "tools/export.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    after = all_files()
    none(f"{o} changes with `make export`" for o in sorted(before.keys() | after.keys()) if before.get(o) != after.get(o))

def test_staircase():
    "A chapter imports only from earlier ones, and from what is beside them; what is beside them imports no chapter to be imported."
    order = [exports_to(o) for o in CHAPTERS]
    def beside(mod: str) -> bool: return mod.split(".")[0] in BESIDE or mod.startswith("_")
    bad = []
    for i, o in enumerate(CHAPTERS):
        for c in code_cells(read(o)):
            for mod in chapters.imports(python(source(c))):
                if mod not in order[:i] and not beside(mod) and (order[i] != mod or "#| export" in source(c)):
                    bad.append(f"{name(o)} imports {mod}, which is no earlier chapter: {source(c).splitlines()[0]}")
    for o in MODULES:
        if not beside(module(o)): continue
        top = [ast.unparse(n) for n in tree(o).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        for mod in chapters.imports("\n".join(top)):
            if mod in order: bad.append(f"{module(o)} imports the chapter {mod} at its top")
    none(bad)

def defined(body: list) -> list[str]:
    "The public names a module defines: not what it imports, and a name in the branches of one `if` or `try` once."
    names = []
    for n in body:
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)):
            if not any("patch" in ast.unparse(o) for o in n.decorator_list): names.append(n.name)
        elif isinstance(n, (ast.Assign, ast.AnnAssign)):
            targets = n.targets if isinstance(n, ast.Assign) else [n.target]
            names += {t.id for o in targets for t in ast.walk(o) if isinstance(t, ast.Name) and isinstance(t.ctx, ast.Store)}
        elif isinstance(n, (ast.If, ast.Try, ast.With)):
            inner = [o for part in ("body", "orelse", "finalbody") for o in getattr(n, part, [])] + [o for h in getattr(n, "handlers", []) for o in h.body]
            names += set(defined(inner))
    return [o for o in names if not o.startswith("_")]

def test_a_name_is_defined_once():
    seen, bad = {}, []
    for o in MODULES:
        for n in defined(tree(o).body):
            if n in seen: bad.append(f"{n} is defined in {seen[n]} and in {module(o)}")
            seen[n] = module(o)
    none(bad)

def test_autograd_does_without_torch():
    path = LIB/"autograd.py"
    if not path.exists(): pytest.skip("there is no chapter on autograd yet")
    code = path.read_text(encoding="utf-8")
    for mod, text in {"autograd": code, **chapters.library(code)}.items():
        for n in ast.walk(ast.parse(text)):
            if isinstance(n, ast.Import): names = [o.name for o in n.names]
            elif isinstance(n, ast.ImportFrom): names = [n.module or ""] if not n.level else []
            else: continue
            none(f"{mod} imports {o}" for o in names if o.split(".")[0] in ("torch", "fastai"))
    code = "import sys; sys.modules['torch'] = None; import course_lib.autograd"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

# ---- exported definitions

SHAPE = re.compile(r"\((?:\.\.\.|…|\*?[\w*/+\-]+),|\(\)|\bshapes?\b|\bscalar\b|\b(?:a|one) number\b|\brank[- ]0\b"
                   r"|\bmatri(?:x|ces)\b|\bvectors?\b|\bbroadcasts\b|\blikewise\b|\bsame as\b|\bsize\b")

def is_tensor(annotation) -> bool:
    "Is this the type of one tensor or array (or of something else that may be one)?"
    if annotation is None: return False
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str): annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp): return is_tensor(annotation.left) or is_tensor(annotation.right)
    return getattr(annotation, "id", getattr(annotation, "attr", "")) in ("Tensor", "ndarray")

@cache
def comments(path: Path) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return {o.start[0]: o.string for o in tokens if o.type == tokenize.COMMENT}

def overrides(cls, method: str) -> bool:
    "Does a base class of `cls` have the method? Then it is described there."
    return isinstance(cls, type) and any(method in vars(o) for o in cls.__mro__[1:])

def returns_something(f: ast.FunctionDef) -> bool:
    inner = {o for g in ast.walk(f) if g is not f and isinstance(g, (ast.FunctionDef, ast.Lambda)) for o in ast.walk(g)}
    return any(isinstance(o, ast.Return) and o.value is not None for o in ast.walk(f) if o not in inner)

def function_faults(path: Path, f: ast.FunctionDef, cls: ast.ClassDef | None = None):
    "What the signature of an exported function or public method leaves out."
    where = f"{module(path)}.{cls.name + '.' if cls else ''}{f.name}"
    said, doc = comments(path), ast.get_docstring(f) or ""
    if not doc and f.name != "__init__": yield f"{where} has no docstring"
    about = f"{doc}\n{cls and ast.get_docstring(cls)}"
    args = f.args.posonlyargs + f.args.args + f.args.kwonlyargs
    if cls and args and not any("staticmethod" in ast.unparse(o) for o in f.decorator_list): args = args[1:]
    lines = {o: "".join(said.get(i, "") for i in range(o.lineno, o.end_lineno + 1)) for o in args}
    signature = "".join(said.get(i, "") for i in range(f.lineno, f.body[0].lineno))
    for o in args:
        if o.annotation is None and not lines[o]: yield f"{where}: {o.arg} has neither a type nor a comment"
        if is_tensor(o.annotation) and not SHAPE.search(f"{lines[o]}\n{about}"): yield f"{where}: the shape of {o.arg} is not said"
    if cls: return
    if f.returns is None and returns_something(f) and "->" not in signature: yield f"{where}: what it returns is not said"
    if is_tensor(f.returns) and not SHAPE.search(f"{signature}\n{doc}"): yield f"{where}: the shape of what it returns is not said"

def test_definitions_say_what_they_take():
    "Every exported function, class and public method has a docstring, types, and shapes where tensors go in or come out."
    bad = []
    for path in MODULES:
        for n in tree(path).body:
            if getattr(n, "name", "_").startswith("_"): continue
            if isinstance(n, ast.FunctionDef): bad += function_faults(path, n)
            if not isinstance(n, ast.ClassDef): continue
            if not ast.get_docstring(n): bad.append(f"{module(path)}.{n.name} has no docstring")
            cls = getattr(import_module(f"course_lib.{module(path)}"), n.name, None)
            for f in n.body:
                if not isinstance(f, ast.FunctionDef) or f.name.startswith("_") and f.name != "__init__": continue
                if f.name == "__init__" or not overrides(cls, f.name): bad += function_faults(path, f, n)
    none(bad)

# ---- what notebooks say and show

def shown(nb: dict):
    "The text of every output, without pictures."
    for i, c in enumerate(nb["cells"]):
        for o in c.get("outputs", []):
            if o["output_type"] == "error": yield i, "Traceback (most recent call last)"
            data = {"text/plain": o["text"]} if "text" in o else o.get("data", {})
            for kind, text in data.items():
                if kind.startswith("image/") and kind != "image/svg+xml": continue
                text = "".join(text) if isinstance(text, list) else text if isinstance(text, str) else json.dumps(text)
                yield i, re.sub(r"data:[\w/+-]+;base64,[\w+/=\s]+", "", text)

NOISE = {"a traceback": r"Traceback \(most recent call last\)", "a memory address": r"\bat 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{9,16}\b",
    "a path of one machine": r"(?<![\w.:/<])/(?:home|root|tmp|Users|work|private|var/folders)/|\b[A-Z]:\\\\?\w", "a progress bar": r"\d+%\|[█▏▎▍▌▋▊▉#\s]"}

def test_outputs_hold_nothing_of_one_machine():
    none(f"{name(o)}, cell {i}: {what}: {m[0]}" for o in NOTEBOOKS for i, text in shown(read(o)) for what, r in NOISE.items() if (m := re.search(r, text)))

def test_notebooks_are_clean():
    bad = []
    for o in NOTEBOOKS:
        nb = read(o)
        if o.stat().st_size > 1.5e6: bad.append(f"{name(o)} has {o.stat().st_size/1e6:.1f} MB: more than 1.5")
        for i, c in enumerate(nb["cells"]):
            if c.get("execution_count") is not None: bad.append(f"{name(o)}, cell {i}: an execution count")
            if not source(c).strip(): bad.append(f"{name(o)}, cell {i} is empty")
    none(bad)

def test_notebooks_promise_something():
    "A title, and under it the line that says what the reader will have; with nothing but directives before."
    bad = []
    for o in NOTEBOOKS:
        first = next((source(c) for c in read(o)["cells"] if c["cell_type"] == "markdown"), "")
        if not re.match(r"# \S", first): bad.append(f"{name(o)} does not start with a title")
        elif not re.match(r"# .+\n\n> \S", first): bad.append(f"{name(o)} has no `> ` line under its title")
    none(bad)

def test_imports_stand_alone():
    "A cell with imports at its top level has nothing else in it. The index shows one program, and what is hidden is no part of a page."
    bad = []
    for o in NOTEBOOKS:
        for c in code_cells(read(o)):
            if o.stem == "index" or re.search(r"^#\|\s*hide\b", source(c), re.M): continue
            kinds = [isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(python(source(c))).body if not ast.unparse(n) == "pass"]
            if any(kinds) and not all(kinds): bad.append(f"{name(o)}: imports among other code: {source(c).strip().splitlines()[0]}")
    none(bad)

def test_links_between_notebooks_lead_somewhere():
    bad = []
    for o in NOTEBOOKS:
        for c in read(o)["cells"]:
            if c["cell_type"] != "markdown": continue
            for to in re.findall(r"\]\((?!https?:|#|mailto:|attachment:)([^)#\s]+)", source(c)):
                if not (o.parent/to).exists(): bad.append(f"{name(o)} links to {to}, which is not there")
    none(bad)

# ---- importing the library

# Imports every module as a process would that has only what the library itself requires, and tells what each cost and did.
PROBE = """
import gc, sys, time, json
import torch, numpy
gc.disable() # a collection of what torch has left would be charged to whichever import it falls into
net = []
absent, modules = json.loads(sys.argv[1])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent: raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
sys.addaudithook(lambda event, args: net.append([event, repr(args)]) if event.startswith(("socket.", "urllib.")) else None)
told = {}
for o in modules:
    before, seen, start = len(net), set(sys.modules), time.process_time()
    __import__(o)
    told[o] = dict(ms=1e3*(time.process_time() - start), net=net[before:], plots="matplotlib" in set(sys.modules) - seen)
print(json.dumps(told))
"""

def probe() -> dict:
    tops = {k for k, v in packages_distributions().items() if {canonicalize_name(o) for o in v} & (DECLARED - OWN)} | {"IPython"}
    modules = ["course_lib"] + [f"course_lib.{exports_to(o)}" for o in NOTEBOOKS if exports_to(o)]
    run = subprocess.run([sys.executable, "-c", PROBE, json.dumps([sorted(tops), modules])], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)

@pytest.fixture(scope="module")
def probed() -> list[dict]:
    "What importing costs, in processor time; measured again where it seems slow, for other work on the machine makes it so."
    told = [probe()]
    while len(told) < 3 and any(min(o[k]["ms"] for o in told) >= 50 for k in told[0]): told.append(probe())
    return told

def test_importing_is_quick(probed):
    none(f"import {k} takes {ms:.0f} ms beyond torch and numpy: more than 50" for k in probed[0] if (ms := min(o[k]["ms"] for o in probed)) >= 50)

def test_importing_opens_no_connection(probed): none(f"import {k}: {o[0]} {o[1]}" for k, v in probed[0].items() for o in v["net"])

def test_plots_are_imported_when_drawn(probed): none(f"import {k} imports matplotlib" for k, v in probed[0].items() if v["plots"])

def guarded(body, safe=False):
    "Every import below `body`, and whether the code goes on without it."
    for n in body:
        if isinstance(n, (ast.Import, ast.ImportFrom)): yield n, safe
        elif isinstance(n, ast.Try):
            caught = any(h.type is None or re.search(r"ImportError|ModuleNotFoundError|\bException", ast.unparse(h.type)) for h in n.handlers)
            yield from guarded(n.body, safe or caught)
            for part in (n.orelse, n.finalbody, *(h.body for h in n.handlers)): yield from guarded(part, safe or caught and part is n.orelse)
        elif isinstance(n, ast.With): yield from guarded(n.body, safe or bool(re.search(r"suppress\([^)]*(ImportError|ModuleNotFoundError)", ast.unparse(n.items[0]))))
        elif isinstance(n, ast.If):
            yield from guarded(n.body, safe or bool(re.search(r"find_spec|sys\.modules", ast.unparse(n.test))))
            yield from guarded(n.orelse, safe)
        else: yield from guarded([o for o in ast.iter_child_nodes(n) if isinstance(o, (ast.stmt, ast.ExceptHandler))], safe)

def tops(n) -> list[str]:
    "The packages an import statement needs, the library's own left out."
    names = [o.name for o in n.names] if isinstance(n, ast.Import) else [] if n.level else [n.module]
    return [t for o in names if (t := o.split(".")[0]) not in sys.stdlib_module_names and t != "course_lib"]

def test_the_library_needs_what_it_says():
    "It imports the standard library and its requirements; anything else is declared for the course, and done without where it is missing."
    bad = []
    for o in MODULES:
        for n, safe in guarded(tree(o).body):
            for t in tops(n):
                if distributions(t) & OWN or t == "IPython" and safe: continue
                if not distributions(t) & DECLARED: bad.append(f"{module(o)} imports {t}, which settings.ini does not name")
                elif not safe: bad.append(f"{module(o)} imports {t}, which is not among its own requirements, and cannot go on without it")
    none(bad)

def test_the_notebooks_need_what_is_declared():
    none(f"{name(o)} imports {t}, which settings.ini does not name" for o in NOTEBOOKS for c in code_cells(read(o)) for n in ast.walk(ast.parse(python(source(c))))
         if isinstance(n, (ast.Import, ast.ImportFrom)) for t in tops(n) if not distributions(t) & DECLARED and t != "IPython")  # ipykernel brings IPython

# ---- metadata

def test_settings_are_the_one_place():
    toml = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))
    assert set(toml) == {"build-system", "tool"} and set(toml["tool"]) == {"nbdev"}, "pyproject.toml holds [build-system] and [tool.nbdev], nothing else"
    for n in tree(LIB/"__init__.py").body:
        if isinstance(n, ast.Assign) and n.targets[0].id == "__version__": assert not isinstance(n.value, ast.Constant), "the version is a literal in __init__.py"
    import course_lib
    assert course_lib.__version__ == CFG["version"], "the installed version is another one: make venv"

def test_the_version_is_the_same_everywhere():
    cff = yaml.safe_load((ROOT/"CITATION.cff").read_text(encoding="utf-8"))
    assert (cff["version"], cff["title"], cff["authors"]) == (CFG["version"], CFG["title"], [{"name": CFG["author"]}])
    assert re.search(rf"^## {re.escape(CFG['version'])}\b", (ROOT/"CHANGELOG.md").read_text(encoding="utf-8"), re.M), "CHANGELOG.md does not know this version"

def test_commands_that_are_named_exist():
    "Every `make ...` and every script that README.md, CONTRIBUTING.md, CI and the Makefile name is there."
    makefile = (ROOT/"Makefile").read_text(encoding="utf-8")
    targets, bad = set(re.findall(r"^([a-z]+):", makefile, re.M)), []
    workflows = sorted(ROOT.glob(".github/workflows/*.yml"))
    for o in workflows: assert yaml.safe_load(o.read_text(encoding="utf-8"))["jobs"]
    for o in [ROOT/"README.md", ROOT/"CONTRIBUTING.md", ROOT/".ci/run", ROOT/"Makefile", *workflows]:
        text = o.read_text(encoding="utf-8")
        for m in re.findall(r"(?:`|^ *|run: )make ((?:[A-Z]+=\S+ )*)([a-z]+)", text, re.M):
            if m[1] not in targets: bad.append(f"{o.relative_to(ROOT)} names `make {m[1]}`, which is no target of the Makefile")
        for m in re.findall(r"\b((?:tools|tests)/[\w/]+\.py)\b", text):
            if not (ROOT/m).exists(): bad.append(f"{o.relative_to(ROOT)} names {m}, which is not there")
    none(bad)

def test_every_requirement_is_pinned():
    lines = [o.partition("#")[0].strip() for o in (ROOT/"constraints.txt").read_text(encoding="utf-8").splitlines()]
    pins, bad = {canonicalize_name(r.name): r for r in map(Requirement, filter(None, lines))}, []
    for key in ("requirements", "course_requirements", "book_requirements", "dev_requirements"):
        for r in requirements(key):
            pin = pins.get(canonicalize_name(r.name))
            if pin is None: bad.append(f"{r.name} ({key}) is not pinned in constraints.txt")
            elif not re.fullmatch(r"==[\w.!+]+", str(pin.specifier)): bad.append(f"{pin} is no pin")
            elif not r.specifier.contains(str(pin.specifier)[2:]): bad.append(f"constraints.txt pins {pin}, settings.ini asks for {r}")
    none(bad)

def test_no_invented_address():
    "A link to the course's own repository is the one in settings.ini, and while there is none, there is no link."
    host = r"https?://(?:(?:www\.)?(?:github|gitlab|bitbucket|codeberg)\.(?:com|org)|colab\.research\.google\.com/github|mybinder\.org/v2/gh|[\w-]+\.github\.io)/[^\s\"'<>)\]\\]+"
    ours = re.compile("course[_-]?lib|matmul[-_]?to|training[-_]loop|/(?:your|my|some)[-_]?(?:name|user|org)|/(?:owner|username|user|org)/|example", re.I)
    url, bad = CFG["repo_url"], []
    for o in files():
        for link in re.findall(host, o.read_text(encoding="utf-8", errors="replace")):
            if ours.search(link) and not (url and link.startswith(url)): bad.append(f"{o.relative_to(ROOT)}: {link}")
    none(bad)

def test_no_path_of_one_machine():
    path = re.compile(r"(?<![\w.:/<*)\]])/(?:root|home|Users|work)/[\w.-]+|\b[A-Z]:\\\\?Users\b")
    none(f"{o.relative_to(ROOT)}: {m[0]}" for o in files() if o != Path(__file__).resolve() for m in path.finditer(o.read_text(encoding="utf-8", errors="replace")))
