"""Run every chapter and render the book into `_book/`: open `_book/index.html` in a browser, from any disk.

A chapter that has not changed is not run again. `--pdf` prints the same book to `_book/course.pdf` with Chromium.
"""
import argparse, ast, hashlib, html, os, re, shutil, subprocess, sys, time
from pathlib import Path
import chapters
from chapters import NBS, ROOT

CONFIG, BUILD, BOOK = ROOT/"book", ROOT/"_build"/"book", ROOT/"_book"
SRC, HTML, WARNINGS = BUILD/"src", BUILD/"html", BUILD/"warnings.txt"

def pages() -> list[Path]:
    "The notebooks that are pages of the book; what lies deeper (the checkers) only runs."
    return [o for o in chapters.notebooks() if o.parent == NBS]

def run_chapters() -> None:
    "Run what has changed; if a chapter fails, say where its whole trace is, and stop."
    bad = [o for o in chapters.run_all(chapters.notebooks()) if o.error]
    for o in bad:
        file = BUILD/"failed"/f"{chapters.name(o.path).replace('/', '-')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(o.trace or o.error, encoding="utf-8")
        print(f"{chapters.name(o.path)}: mend {o.path.relative_to(ROOT)} and run this again (the whole trace: {file.relative_to(ROOT)})")
    if bad: sys.exit(f"No book: {len(bad)} of {len(chapters.notebooks())} notebooks failed.")

def modules() -> dict[str, Path]:
    "The modules of the library, in reading order, with the page each comes from."
    found = {}
    for o in pages():
        for c in chapters.code_cells(chapters.read(o)):
            if m := re.match(r"#\s*\|\s*default_exp\s+(\w+)", chapters.source(c)): found[m[1]] = o
    return {k: v for k, v in found.items() if (ROOT/"course_lib"/f"{k}.py").exists()}

def exports(module: Path) -> tuple[dict[str, str], list[str]]:
    "What autodoc does not show of a module's public names: its constants with the comment behind each, and what it passes on."
    code = module.read_text(encoding="utf-8")
    public = set(re.findall(r"'(\w+)'", re.search(r"__all__ = (\[.*?\])", code, re.S)[1]))
    constants, passed_on = {}, []
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom): passed_on += [o.asname or o.name for o in node.names if (o.asname or o.name) in public]
        if not isinstance(node, ast.Assign | ast.AnnAssign): continue
        comment = re.search(r"#(?!.*['\"]) (.+)", code.splitlines()[node.lineno - 1])
        for o in getattr(node, "targets", None) or [node.target]:
            if isinstance(o, ast.Name) and o.id in public: constants[o.id] = comment[1] if comment else ""
    return constants, passed_on

def heading(text: str) -> str: return f"{text}\n{'=' * len(text)}\n\n"

def module_page(name: str, chapter: Path) -> str:
    "The source of one page of the reference."
    constants, passed_on = exports(ROOT/"course_lib"/f"{name}.py")
    text = f"{heading(f'course_lib.{name}')}Built in :doc:`/{chapter.stem}`.\n\n.. automodule:: course_lib.{name}\n\n"
    for k, v in constants.items(): text += f".. py:data:: {k}\n   :module: course_lib.{name}\n\n   {v}\n\n"
    if passed_on: text += "Passed on from other modules: " + ", ".join(f"`{o}`" for o in sorted(passed_on)) + ".\n"
    return text

def reference() -> dict[str, str]:
    "The sources of the API reference: a page for each module, and one that lists them."
    mods = modules()
    if not mods: return {}
    rows = "".join(f"   * - :doc:`{m} <{m}>`\n     - :doc:`/{o.stem}`\n     - {chapters.promise(chapters.read(o))}\n" for m, o in mods.items())
    index = (heading("API reference") + "Everything the chapters export, by module: what it takes, with types and shapes, and what it returns.\n"
             "A name in code type, anywhere in the book, leads here.\n\n"
             ".. list-table::\n   :header-rows: 1\n   :widths: 18 30 52\n\n   * - Module\n     - Built in\n     - What it promises\n" + rows
             + "\n.. toctree::\n   :hidden:\n\n" + "".join(f"   {o}\n" for o in mods))
    return {"api/index.rst": index} | {f"api/{m}.rst": module_page(m, o) for m, o in mods.items()}

def write_sources() -> None:
    "Bring the folder that Sphinx reads up to date; a file that is right keeps its time, so its page is not read again."
    files = {k: v.encode() for k, v in reference().items()}
    files |= {o.name: chapters.stored(o).read_bytes() for o in pages()}
    files |= {o.relative_to(NBS).as_posix(): o.read_bytes() for o in NBS.rglob("*")
              if o.is_file() and o.suffix != ".ipynb" and not any(p.startswith((".", "_")) for p in o.relative_to(NBS).parts)}
    for o in [o for o in SRC.rglob("*") if o.is_file()]:
        if o.relative_to(SRC).as_posix() not in files: o.unlink()
    for k, v in files.items():
        file = SRC/k
        if file.exists() and file.read_bytes() == v: continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(v)

def recipe() -> str:
    "Changes with everything that forms all pages: then nothing of the last build is used again."
    forms = [o for o in CONFIG.rglob("*") if o.is_file() and "__pycache__" not in o.parts]
    forms += [ROOT/"settings.ini", ROOT/"constraints.txt", Path(__file__)]
    h = hashlib.sha256("\n".join(sorted(o.relative_to(SRC).as_posix() for o in SRC.rglob("*"))).encode())
    for o in sorted(forms): h.update(o.read_bytes())
    return h.hexdigest()

def tell(warning: str) -> str:
    "A warning of Sphinx in one line, with a notebook's cell and line instead of MyST-NB's number for both."
    warning = re.sub(r"\x1b\[[0-9;]*m", "", warning).replace(f"{SRC}{os.sep}", "").replace(f"{ROOT}{os.sep}", "")
    return re.sub(r"\.ipynb:(\d+):", lambda m: ".ipynb, cell {}, line {}:".format(*divmod(int(m[1]) - 1, 10_000)), warning)

def sphinx(builder: str, out: Path) -> None:
    "Render with Sphinx; any warning is an error, shown in a line, and leaves the last book as it is."
    cmd = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, "-d", str(BUILD/f"doctrees-{builder}"),
           "-c", str(CONFIG), "-w", str(WARNINGS), str(SRC), str(out)]
    WARNINGS.unlink(missing_ok=True)
    done = subprocess.run(cmd, cwd=ROOT, capture_output=True, text=True, errors="replace", env={**os.environ, "PYTHONUTF8": "1"})
    if not done.returncode: return
    said = WARNINGS.read_text(encoding="utf-8") if WARNINGS.exists() else ""
    found = [o for o in dict.fromkeys(tell(said).splitlines()) if re.search(r"(WARNING|ERROR|CRITICAL): ", o)]
    for o in found[:20]: print(o)
    if not found: (BUILD/"sphinx.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    sys.exit(f"No book: {len(found)} warnings, and a warning is an error (all of them: {WARNINGS.relative_to(ROOT)})." if found else
             f"No book: Sphinx stopped (what it said: {(BUILD/'sphinx.log').relative_to(ROOT)}).")

def render() -> int:
    "Make the pages, then put them in the place of the last book; returns how many there are."
    write_sources()
    stamp, now = BUILD/"recipe", recipe()
    if not stamp.exists() or stamp.read_text() != now:
        for o in (HTML, BUILD/"doctrees-html"): shutil.rmtree(o, ignore_errors=True)
    stamp.unlink(missing_ok=True)   # an interrupted build is started afresh
    sphinx("html", HTML)
    stamp.write_text(now)
    for o in pages(): shutil.copyfile(o, HTML/"_sources"/o.name)   # the download is the notebook as it stands in nbs/
    fresh = BOOK.with_name("_book.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(HTML, fresh, ignore=shutil.ignore_patterns(".buildinfo*", "objects.inv"))
    shutil.rmtree(BOOK, ignore_errors=True)
    fresh.rename(BOOK)
    return len(list(BOOK.rglob("*.html")))

def browser() -> str | None:
    "A Chromium of this machine, or Playwright's own."
    for o in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(o): return found
    try: from playwright.sync_api import sync_playwright
    except ImportError: return None
    with sync_playwright() as p: return p.chromium.executable_path if Path(p.chromium.executable_path).exists() else None

HOW_TO_GET = "No Chromium found: apt install chromium, or .venv/bin/python -m playwright install chromium"
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]

def pdf() -> None:
    "Print the whole book, all of it unfolded, to `_book/course.pdf`."
    exe = browser()
    if not exe: sys.exit(HOW_TO_GET)
    from playwright.sync_api import sync_playwright
    for o in ("single", "doctrees-singlehtml"): shutil.rmtree(BUILD/o, ignore_errors=True)   # one page: nothing of it would hold
    sphinx("singlehtml", BUILD/"single")
    foot = (f'<div style="font:8px sans-serif;width:100%;margin:0 16mm;display:flex;justify-content:space-between">'
            f'<span>{html.escape(title())}</span><span class="pageNumber"></span></div>')
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=exe, args=QUIET)
        page = b.new_page(color_scheme="light")
        page.goto((BUILD/"single"/"index.html").as_uri())
        page.evaluate("window.MathJax?.startup?.promise")
        page.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
        page.pdf(path=BOOK/"course.pdf", format="A4", print_background=True, outline=True, tagged=True, display_header_footer=True,
                 header_template="<span></span>", footer_template=foot, margin=dict(top="16mm", bottom="18mm", left="16mm", right="16mm"))
        b.close()

def title() -> str: return re.search(r"^title = (.+)", (ROOT/"settings.ini").read_text(encoding="utf-8"), re.M)[1]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pdf", action="store_true", help="print the book to _book/course.pdf as well")
    args = p.parse_args()
    start = time.monotonic()
    if args.pdf and not browser(): sys.exit(HOW_TO_GET)
    run_chapters()
    print("Rendering the pages ...", flush=True)
    n = render()
    if args.pdf:
        print("Printing the PDF ...", flush=True)
        pdf()
    print(f"The book is ready after {time.monotonic() - start:.0f} s: {n} pages. Open _book/index.html in a browser"
          + ("; the PDF is _book/course.pdf." if args.pdf else "."))

if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: chapters.interrupted()
