"""Run the chapters, each alone: a fresh kernel, one thread, an empty folder, and no network but this machine.

What ran is kept in `_build/executed`; a chapter is run again only when its code, or a module it imports, has changed.
`python tools/chapters.py` runs all; with names (`01_matmul`) only those; `--save` stores the outputs in `nbs/`.
"""
import argparse, ast, asyncio, hashlib, json, logging, os, re, subprocess, sys, tempfile, textwrap, threading, time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, EXECUTED = ROOT/"nbs", ROOT/"_build"/"executed"
CHECK = re.compile(r"(?:^|:)\s*(?:assert\b|(?:test_\w+|check|gradcheck)\(|with expect_fail\()", re.M)

def notebooks() -> list[Path]:
    "Every notebook of the course in reading order: the index, the chapters, the appendices, then what checks the exercises."
    found = [o for o in NBS.rglob("*.ipynb") if not any(p.startswith((".", "_")) for p in o.relative_to(NBS).parts)]
    return sorted(found, key=lambda o: (len(o.relative_to(NBS).parts), o.stem != "index", o.as_posix()))

def name(path: Path) -> str:
    "How a notebook is called: `01_matmul`, `checks/01_matmul`."
    return path.relative_to(NBS).with_suffix("").as_posix()

def read(path: Path) -> dict: return json.loads(path.read_text(encoding="utf-8"))

def source(cell: dict) -> str: return "".join(cell["source"])

def code_cells(nb: dict) -> list[dict]: return [c for c in nb["cells"] if c["cell_type"] == "code"]

def n_checks(nb: dict) -> int:
    "How many checks a notebook makes: assertions, tests, expected failures, and answers."
    return sum(len(CHECK.findall(source(c))) for c in code_cells(nb)) + len(answers(nb))

def answers(nb: dict) -> list[str]:
    "The Python code in the folded answers of a notebook: what stands in ```python fences inside <details>."
    found = []
    for c in nb["cells"]:
        if c["cell_type"] != "markdown": continue
        for block in re.findall(r"<details.*?</details>", source(c), re.S): found += re.findall(r"^```python\n(.*?)^```", block, re.S | re.M)
    return found

# Runs each answer in the chapter's own namespace: lines behind >>> as a doctest, anything else as it stands.
RUN_ANSWERS = '''
import doctest as _doctest
for _answer in {answers!r}:
    if ">>>" not in _answer: exec(_answer)
    else:
        _test = _doctest.DocTestParser().get_doctest(_answer, dict(globals()), "answer", None, 0)
        _said = []
        if _doctest.DocTestRunner(optionflags=_doctest.ELLIPSIS | _doctest.NORMALIZE_WHITESPACE).run(_test, out=_said.append).failed:
            raise AssertionError("an answer does not hold:\\n" + "".join(_said))
'''

def promise(nb: dict) -> str:
    "The first line of a chapter's promise: the `>` line under its title."
    for c in nb["cells"]:
        if c["cell_type"] == "markdown" and (m := re.search(r"^> (.+)", source(c), re.M)): return re.sub(r"`|\*\*", "", m[1])
    return ""

def imports(code: str) -> set[str]:
    "The modules of the library that `code` imports: `{'data', 'matmul'}`."
    found = set()
    for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", code, flags=re.M))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "course_lib"):
            path = (node.module or "").removeprefix("course_lib").strip(".")
            found |= {path} if path else {o.name for o in node.names}
        elif isinstance(node, ast.Import):
            found |= {o.name.removeprefix("course_lib.") for o in node.names if o.name.startswith("course_lib.")}
    return found

def library(code: str) -> dict[str, str]:
    "The source of every module of the library that `code` needs, directly or through another."
    found, todo = {}, imports(code)
    while todo:
        mod = todo.pop()
        file = ROOT/"course_lib"/(mod.replace(".", "/") + ".py")
        if mod not in found and file.exists():
            found[mod] = file.read_text(encoding="utf-8")
            todo |= imports(found[mod])
    return found

def asked(nb: dict) -> list[str]:
    "Imports of the modules that check the exercises which a notebook poses: `check` finds those by itself."
    posed = set(re.findall(r"^check\((\w+)\)", "\n".join(map(source, code_cells(nb))), re.M))
    defined = {o.stem: set(re.findall(r"^def (\w+)", o.read_text(encoding="utf-8"), re.M)) for o in (ROOT/"course_lib"/"checks").glob("*.py")}
    return [f"import course_lib.checks.{k}" for k, names in sorted(defined.items()) if posed & names]

def key(nb: dict) -> str:
    "Changes when running the notebook again could give something else."
    code = [source(c) for c in code_cells(nb)]
    needs = sorted(library("\n".join([*code, *asked(nb)])).items())
    return hashlib.sha256(json.dumps([code, answers(nb), needs, (ROOT/"constraints.txt").read_text(encoding="utf-8")]).encode()).hexdigest()

def environment(folder: str, **extra) -> dict[str, str]:
    "What a chapter's process sees: one thread, nothing random in it, its own caches, no outside network."
    offline = str(ROOT/"tools"/"offline")
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0",
            "PYTHONPATH": offline, "PYTHONUTF8": "1", "COURSE_LIB_HOME": folder,
            "IPYTHONDIR": str(Path(folder)/"ipython"), "MPLBACKEND": "module://matplotlib_inline.backend_inline", **extra}

@dataclass
class Run:
    "What came of one chapter."
    path: Path
    seconds: float
    checks: int
    error: str = ""      # one line: the cell and what it raised
    trace: str = ""      # all of it
    cached: bool = False

    def __str__(self):
        what = self.error or f"{self.checks:3} checks  {textwrap.shorten(promise(read(self.path)), 90, placeholder='…')}"
        return f"{'FAILED' if self.error else 'ok':6}  {name(self.path):20} {'cached ' if self.cached else f'{self.seconds:5.1f} s'}  {what}"

def stored(path: Path) -> Path: return EXECUTED/path.relative_to(NBS)

def merge(path: Path, outputs: list) -> None:
    "Write the notebook at `path` with these outputs to `_build/executed`, if that changes anything."
    nb = read(path)
    for c, o in zip(code_cells(nb), outputs, strict=True): c["outputs"], c["execution_count"] = o, None
    text, file = json.dumps(nb, ensure_ascii=False, indent=1) + "\n", stored(path)
    if file.exists() and file.read_text(encoding="utf-8") == text: return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")

async def run(path: Path, force: bool = False) -> Run:
    "Run one notebook, unless what is stored still holds."
    nb, file = read(path), stored(path).with_suffix(".run.json")
    k = key(nb)
    if not force and file.exists() and (old := read(file))["key"] == k:
        merge(path, old["outputs"])
        return Run(path, old["seconds"], n_checks(nb), cached=True)
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)/"work"
        work.mkdir()
        loaded = nbformat.reads(json.dumps(nb), as_version=4)
        if answers(nb): loaded.cells.append(nbformat.v4.new_code_cell(RUN_ANSWERS.format(answers=answers(nb))))
        client = NotebookClient(loaded, timeout=300, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": str(work)}})
        try: await client.async_execute(env=environment(folder), stderr=subprocess.DEVNULL)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
            trace = re.sub(r"\x1b\[[0-9;]*m", "", str(e))
            i = next((i for i, c in enumerate(loaded.cells) if any(o.output_type == "error" for o in c.get("outputs", []))), None)
            last = trace.strip().splitlines()[-1]
            return Run(path, time.monotonic() - start, n_checks(nb), f"cell {i + 1}: {last}" if i is not None else last, trace)
        left = [o.name for o in work.iterdir()]
        if left: return Run(path, time.monotonic() - start, n_checks(nb), f"leaves files where it ran: {', '.join(left)}")
    seconds = time.monotonic() - start
    if [*map(source, code_cells(read(path)))] != [*map(source, code_cells(nb))]:
        return Run(path, seconds, n_checks(nb), "was edited while it ran: run it again")
    outputs = [c["outputs"] for c in json.loads(nbformat.writes(loaded))["cells"] if c["cell_type"] == "code"][:len(code_cells(nb))]
    merge(path, outputs)
    file.write_text(json.dumps(dict(key=k, seconds=seconds, outputs=outputs)), encoding="utf-8")
    return Run(path, seconds, n_checks(nb))

async def _run_all(paths: list[Path], force: bool, report, at_once: int, stopped: threading.Event) -> list[Run]:
    room = asyncio.Semaphore(at_once)
    async def one(path: Path) -> Run:
        async with room:
            if stopped.is_set(): raise asyncio.CancelledError # nbclient may have swallowed the first one
            r = await run(path, force)
        report(r)
        return r
    return await asyncio.gather(*map(one, paths))

class Background:
    "Runs notebooks side by side in a thread of its own; in the main thread nbclient would take Ctrl-C for itself."
    def __init__(self, paths: list[Path], force: bool, report, at_once: int = 2):
        self.result, self.error, self.loop = None, None, asyncio.new_event_loop()
        self.stopped = threading.Event()
        self.task = self.loop.create_task(_run_all(paths, force, report, at_once, self.stopped))
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        asyncio.set_event_loop(self.loop)
        try: self.result = self.loop.run_until_complete(self.task)
        except BaseException as e: self.error = e

    def stop(self):
        "Stop what still runs, and leave no kernel behind."
        if not self.thread.is_alive(): return
        import psutil
        logging.getLogger("asyncio").disabled = True # what is cut off now need not complain
        self.stopped.set()
        self.loop.call_soon_threadsafe(self.task.cancel)
        for _ in range(20):
            kernels = [o for o in psutil.Process().children(recursive=True) if "ipykernel" in " ".join(_cmdline(o))]
            for o in kernels: o.kill()
            psutil.wait_procs(kernels, 3)
            self.thread.join(0.3)
            if not self.thread.is_alive(): break

def _cmdline(process) -> list[str]:
    import psutil
    try: return process.cmdline()
    except psutil.Error: return []

def run_all(
    paths: list[Path],      # the notebooks
    force: bool = False,    # run also what has not changed
    report=lambda r: print(r, flush=True), # called with each `Run` as it ends
) -> list[Run]:             # in the order of `paths`
    "Run notebooks, two side by side, each on one thread."
    background = Background(paths, force, report)
    try:
        while background.thread.is_alive(): background.thread.join(0.2)
    finally: background.stop()
    if background.error: raise background.error
    return background.result

def select(names: list[str]) -> list[Path]:
    "The notebooks called `names`, or all of them."
    known = {name(o): o for o in notebooks()}
    if bad := [o for o in names if o not in known]: sys.exit(f"There is no chapter {', '.join(bad)}. There are: {', '.join(known)}")
    return [known[o] for o in names] or list(known.values())

def interrupted():
    "Say so and leave at once: what nbclient still has to say at the end of the process is no help to anybody."
    print("Interrupted: what was finished is kept, run the same command again to go on.", file=sys.stderr, flush=True)
    os._exit(130)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", help="chapters to run, as 01_matmul (default: all)")
    p.add_argument("--save", action="store_true", help="store the outputs in nbs/, cleaned")
    p.add_argument("--force", action="store_true", help="run also what has not changed")
    args = p.parse_args()
    runs = run_all(select(args.names), args.force)
    for r in runs:
        if r.trace: print(f"\n{name(r.path)}\n{r.trace}")
    if args.save:
        from nbdev.clean import nbdev_clean
        for r in runs:
            if r.error: continue
            r.path.write_text(stored(r.path).read_text(encoding="utf-8"), encoding="utf-8")
            nbdev_clean(str(r.path))
    if bad := [name(r.path) for r in runs if r.error]: sys.exit(f"{len(bad)} of {len(runs)} failed: {', '.join(bad)}")

if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: interrupted()
