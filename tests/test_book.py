"""The web book: built as a reader would build it, and opened in a real browser."""
import functools, json, os, re, shutil, signal, subprocess, sys, threading, time
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"tools"))
import book as tool, chapters

MODES = {"light": dict(viewport=dict(width=1280, height=900), color_scheme="light"),
         "dark": dict(viewport=dict(width=1280, height=900), color_scheme="dark"),
         "phone": dict(viewport=dict(width=390, height=844), color_scheme="light", has_touch=True)}

# What is asked of every page, in the page itself.
EXAMINE = r"""() => {
  document.querySelectorAll('article details').forEach(o => { o.open = true; });
  const where = o => (o.outerHTML || o.textContent).replace(/\s+/g, ' ').slice(0, 120);
  const seen = o => o.checkVisibility({opacityProperty: true, visibilityProperty: true}) && o.getClientRects().length > 0;
  const said = o => (o.getAttribute('aria-label') || (o.getAttribute('aria-labelledby') || '').split(' ').map(i => document.getElementById(i)?.textContent || '').join('')
    || o.textContent || o.title || [...o.querySelectorAll('img')].map(i => i.alt).join('') || o.labels?.[0]?.textContent || '').trim();
  const all = (q, bad) => [...document.querySelectorAll(q)].filter(bad).map(where);
  const number = c => { const m = c.match(/[\d.]+/g).map(Number); if (c.startsWith('color(srgb')) for (const i of [0, 1, 2]) m[i] *= 255; return m.length > 3 ? m : [...m, 1]; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = o => { const c = o ? number(getComputedStyle(o).backgroundColor) : [255, 255, 255, 1]; return c[3] === 1 ? c : over(c, ground(o.parentElement)); };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const scrolls = o => o && (/auto|scroll/.test(getComputedStyle(o).overflowX) && o.scrollWidth > o.clientWidth && o.tagName !== 'MAIN' || scrolls(o.parentElement));
  const faint = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  for (let n; n = walk.nextNode();) {
    const o = n.parentElement;
    if (!n.textContent.trim() || o.closest('script, style, noscript, mjx-assistive-mml, .visually-hidden, [disabled]') || !seen(o)) continue;
    const under = ground(o), ratio = contrast(over(number(getComputedStyle(o).color), under), under);
    texts += 1;
    if (ratio < 4.5) faint.add(`${ratio.toFixed(2)} ${o.tagName}.${o.className}: ${n.textContent.trim().slice(0, 40)}`);
  }
  return {
    texts, faint: [...faint],
    sideways: (document.documentElement.scrollWidth > innerWidth ? [`${document.documentElement.scrollWidth} px`] : []).concat(
      all('main *', o => seen(o) && o.getBoundingClientRect().right > innerWidth + 1 && !o.closest('mjx-assistive-mml, .visually-hidden') && !scrolls(o))),   // or is cut off there
    alt: all('article img', o => !o.alt.trim() || /\.(png|svg|jpe?g|gif)$/i.test(o.alt) || o.alt === o.getAttribute('src'))
      .concat(all('article .output svg', o => !o.closest('mjx-container, [aria-hidden=true], button') && !o.getAttribute('aria-label') && !o.querySelector('title'))),
    broken: all('img', o => seen(o) && o.complete && !o.naturalWidth),
    nameless: all('a[href], button, input:not([type=hidden]), select, textarea, summary, [role=button]', o => seen(o) && !said(o)),
    formulas: all('.math', o => !o.querySelector('mjx-container svg') || o.querySelector('[data-mml-node=merror]')),
    unreachable: all('article pre, article .output, article .pst-scrollable-table-container',
      o => o.scrollWidth > o.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(o).overflowX) && o.tabIndex < 0),
    headings: document.querySelectorAll('h1').length, lang: document.documentElement.lang, title: document.title,
  };
}"""

def build(root: Path, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(root/"tools"/"book.py"), *args], cwd=root, capture_output=True, text=True, encoding="utf-8")

@pytest.fixture(scope="session")
def book() -> Path:
    done = build(ROOT)
    assert not done.returncode, done.stdout + done.stderr
    return ROOT/"_book"

@pytest.fixture(scope="session")
def names(book) -> list[str]:
    "Every page of the book, as `api/data.html`."
    found = sorted(o.relative_to(book).as_posix() for o in book.rglob("*.html") if "_static" not in o.parts)
    assert len(found) > len(tool.pages())
    return found

@pytest.fixture(scope="session")
def soups(book, names) -> dict[str, BeautifulSoup]:
    return {o: BeautifulSoup((book/o).read_text(encoding="utf-8"), "html.parser") for o in names}

@pytest.fixture(scope="session")
def chromium():
    exe = tool.browser()
    if not exe: pytest.skip(tool.HOW_TO_GET)
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=exe, args=tool.QUIET)
        yield b
        b.close()

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope="session")
def served(book):
    "The address of the book on a local server."
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()

@pytest.fixture(scope="session")
def visits(chromium, book, served, names) -> dict[str, dict[str, dict]]:
    "Every page, from the disk (light, phone) and from a server (dark), with what was heard and seen there."
    shots = ROOT/"_build"/"screenshots"
    shutil.rmtree(shots, ignore_errors=True)
    shots.mkdir(parents=True)
    found = {}
    for mode, options in MODES.items():
        base = served if mode == "dark" else book.as_uri()
        with chromium.new_context(**options) as context:
            page, heard = context.new_page(), []
            page.on("console", lambda m: heard.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: heard.append(f"error: {e}"))
            # A picture for the tab may still be on its way when the next page is opened: leaving gives up on it, and nothing is wrong.
            page.on("requestfailed", lambda r: None if r.failure == "net::ERR_ABORTED" else heard.append(f"failed: {r.url} ({r.failure})"))
            page.on("response", lambda r: heard.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
            page.on("request", lambda r: None if r.url.startswith((base, "data:", "blob:")) else heard.append(f"outside: {r.url}"))
            for name in names:
                heard.clear()
                page.goto(f"{base}/{name}")
                page.evaluate("window.MathJax?.startup?.promise")
                page.evaluate("Promise.allSettled(document.getAnimations().map(o => o.finished))")   # colours that are still changing
                found.setdefault(mode, {})[name] = page.evaluate(EXAMINE) | {"heard": list(heard)}
                if Path(name).with_suffix(".ipynb").name in {o.name for o in tool.pages()}:
                    width, height = options["viewport"]["width"], page.evaluate("document.documentElement.scrollHeight")
                    for y in range(0, height, 10_000):   # Chromium takes no picture of more than 16,384 pixels
                        page.screenshot(path=shots/f"{Path(name).stem}-{mode}-{y // 10_000}.jpg", type="jpeg", quality=60, full_page=True,
                                        clip=dict(x=0, y=y, width=width, height=min(10_000, height - y)))
    return found

def complaints(visits, key, modes=MODES) -> list[str]:
    return [f"{mode} {page}: {o}" for mode in modes for page, report in visits[mode].items() for o in report[key]]

def test_pages_open_quietly_and_alone(visits): assert not complaints(visits, "heard")
def test_nothing_scrolls_sideways(visits): assert not complaints(visits, "sideways")
def test_pictures_are_described(visits): assert not complaints(visits, "alt")
def test_pictures_are_there(visits): assert not complaints(visits, "broken")
def test_controls_have_names(visits): assert not complaints(visits, "nameless")
def test_formulas_are_set(visits): assert not complaints(visits, "formulas")
def test_scrolling_boxes_take_the_keyboard(visits): assert not complaints(visits, "unreachable")

def test_text_has_contrast(visits):
    assert not complaints(visits, "faint")
    assert all(visits[mode][f"{o.stem}.html"]["texts"] > 20 for mode in ("light", "dark") for o in tool.pages()), "text was found"

def test_pages_have_one_title_and_a_language(visits):
    assert not [o for o, r in visits["light"].items() if r["lang"] != "en" or not r["title"].strip()]
    assert not [o for o, r in visits["light"].items() if r["headings"] < 1]

def test_screenshots_are_left_for_review(visits):
    left = {o.stem.rpartition("-")[0] for o in (ROOT/"_build"/"screenshots").iterdir()}
    assert left == {f"{o.stem}-{mode}" for o in tool.pages() for mode in MODES}

def words(path: Path) -> list[str]:
    return re.findall(r"\b[a-z]{6,}\b", " ".join(chapters.source(c) for c in chapters.read(path)["cells"] if c["cell_type"] == "markdown"))

@pytest.mark.parametrize("scheme", ["file", "http"])
def test_search_finds_every_chapter(chromium, book, served, scheme):
    counts = {o: Counter(words(o)) for o in tool.pages()}
    page, heard, missed = chromium.new_page(), [], []
    page.on("console", lambda m: heard.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(("file:", served, "data:")) else heard.append(r.url))
    for path, count in counts.items():
        others = sum((c for o, c in counts.items() if o != path), Counter())
        word = max(count, key=lambda w: (w not in others, count[w], w))   # a word of this chapter alone, if it has one
        page.goto(f"{book.as_uri() if scheme == 'file' else served}/search.html?q={word}")
        try: page.wait_for_selector(f'#search-results a[href*="{path.stem}.html"]', timeout=10_000)
        except Exception: missed.append(f"{word} → {path.stem}")
    page.close()
    assert not missed and not heard

def test_links_and_anchors_resolve(book, soups):
    ids = {o: {t["id"] for t in s.select("[id]")} | {t["name"] for t in s.select("a[name]")} for o, s in soups.items()}
    bad = []
    for name, soup in soups.items():
        for tag, attr in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")):
            for o in soup.select(f"{tag}[{attr}]"):
                url = urlsplit(o[attr])
                if url.scheme == "data" or (tag == "a" and url.scheme in ("http", "https", "mailto")): continue
                target = os.path.normpath(os.path.join(os.path.dirname(name), unquote(url.path))).replace(os.sep, "/") if url.path else name
                if url.scheme or url.netloc or not (book/target).is_file(): bad.append(f"{name}: {o[attr]}")
                elif url.fragment and target in ids and unquote(url.fragment) not in ids[target]: bad.append(f"{name}: no anchor {o[attr]}")
    assert not bad

def test_pages_are_small(book, names):
    assert not [o for o in names if (book/o).stat().st_size > 1_500_000]

def test_chapters_stand_in_order(soups):
    stems = [o.stem for o in tool.pages()]
    shown = [urlsplit(o["href"]).path.removesuffix(".html") for o in soups["index.html"].select("nav.bd-links a.reference.internal")]
    assert [o for o in shown if o in stems] == [o for o in stems if o != "index"]
    assert shown[-1].startswith("api/")
    for before, after in zip(stems, stems[1:]):
        assert soups[f"{before}.html"].select_one("a.right-next")["href"] == f"{after}.html"
        assert soups[f"{after}.html"].select_one("a.left-prev")["href"] == f"{before}.html"

def cells(path: Path, *marks: str) -> list[str]:
    "The code cells of a notebook with one of these directives."
    return [s for c in chapters.code_cells(chapters.read(path)) if re.search(rf"^#\|\s*({'|'.join(marks)})\b", s := chapters.source(c), re.M)]

def test_directives_become_marks(soups):
    for path in tool.pages():
        soup = soups[f"{path.stem}.html"]
        shown = [o.get_text() for o in soup.select("div.cell_input pre")]
        assert not [o for o in shown if re.search(r"^\s*#\s*\|", o, re.M)], path.stem
        exported = [o for o in cells(path, "export", "exports") if o not in cells(path, "hide", "default_exp")]
        assert len(soup.select(".export-mark a")) == len(exported), path.stem
        folded = [o for o in cells(path, r"code-fold:\s*true") if o not in cells(path, "hide", "default_exp")]
        assert len(soup.select("div.cell details.hide > summary")) == len(folded), path.stem

def test_reference_is_complete_and_linked_to(soups):
    public = {}
    for mod in tool.modules():
        found = re.search(r"__all__ = (\[.*?\])", (ROOT/"course_lib"/f"{mod}.py").read_text(encoding="utf-8"), re.S)
        _, passed_on = tool.exports(ROOT/"course_lib"/f"{mod}.py")
        public |= {o: f"course_lib.{mod}.{o}" for o in re.findall(r"'(\w+)'", found[1]) if o not in passed_on}
        ids = {t["id"] for t in soups[f"api/{mod}.html"].select("[id]")}
        assert not [o for o, full in public.items() if full.startswith(f"course_lib.{mod}.") and full not in ids], mod
    loose = [f"{name}: {o.get_text()}" for name, soup in soups.items() for o in soup.select("article code")
             if o.get_text() in public and not o.find_parent(["a", "pre", "h1", "h2", "h3", "h4", "dt"])
             and "xref" not in o.get("class", [])] # Sphinx resolves those by full name: torch's Tensor is not ours
    assert not loose

def test_parameters_show_types_and_comments(soups):
    "Every comment that nbdev's way puts beside a parameter of a public function is in the reference."
    from fastcore.docments import docments
    from importlib import import_module
    missing = []
    for mod in tool.modules():
        text = " ".join(soups[f"api/{mod}.html"].get_text().split())
        for name, o in vars(import_module(f"course_lib.{mod}")).items():
            if not callable(o) or name.startswith("_") or getattr(o, "__module__", "") != f"course_lib.{mod}" or isinstance(o, type): continue
            said = {k: " ".join(v.split()) for k, v in docments(o).items() if v}
            missing += [f"{mod}.{name}: {v}" for v in said.values() if re.sub(r"\W", "", v) not in re.sub(r"\W", "", text)]
    assert not missing

def test_keyboard(chromium, book):
    "The first Tab reaches the skip link; every stop can be seen; search, theme, download and contents are all among them."
    page = chromium.new_page(viewport=dict(width=1280, height=900))
    page.goto((book/f"{tool.pages()[1].stem}.html").as_uri())
    look = """() => { const o = document.activeElement, s = getComputedStyle(o), r = o.getBoundingClientRect(), i = o.querySelector(':scope .toctree-toggle');
      const marked = s => (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none';
      return {text: (o.getAttribute('aria-label') || o.textContent || o.id).trim(), href: o.getAttribute('href') || '', tag: o.tagName, id: o.id,
              seen: marked(s) || (i && marked(getComputedStyle(i))), inside: r.width > 0 && r.bottom > 0 && r.top < innerHeight} }"""
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        page.wait_for_timeout(20 if stops else 500)   # the skip link slides in
        if (stop := page.evaluate(look))["tag"] == "BODY": break
        stops.append(stop)
    assert stops[0]["href"] == "#main-content" and stops[0]["inside"], stops[0]
    assert not [o for o in stops if not o["seen"]]
    said = " | ".join(o["text"].lower() for o in stops)
    for name in ("search", "download", "color mode"): assert name in said, (name, said)
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
    page.close()

def test_theme_button_changes_the_colours(chromium, book):
    page = chromium.new_page(color_scheme="light")
    page.goto((book/"index.html").as_uri())
    seen = []
    for mode in ("light", "dark"):
        page.locator(".theme-switch-button:visible").first.click()
        page.locator(f".theme-switch-container .theme-change-button[data-mode={mode}]:visible").first.click()
        page.wait_for_timeout(500)
        seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.close()
    assert seen[0] != seen[1]

def test_notebooks_can_be_downloaded(chromium, served, book):
    page = chromium.new_page(viewport=dict(width=1280, height=900))
    for path in tool.pages():
        page.goto(f"{served}/{path.stem}.html")
        page.locator(".dropdown-download-buttons > button").click()
        with page.expect_download() as got: page.locator(".dropdown-download-buttons a.btn-download-source-button").click()
        assert got.value.suggested_filename == path.name and Path(got.value.path()).read_bytes() == path.read_bytes()
    page.close()

def remote_links(soup) -> list[str]:
    "Links of the page's own frame, not of its text, to Colab or to a repository."
    for o in soup.select("article"): o.extract()
    return [o["href"] for o in soup.select("a[href^=http]")]

def test_no_repository_links_without_a_repository(book):
    if re.search(r"^repo_url = *\S", (ROOT/"settings.ini").read_text(encoding="utf-8"), re.M): pytest.skip("repo_url is set")
    for o in book.glob("*.html"): assert not remote_links(BeautifulSoup(o.read_text(encoding="utf-8"), "html.parser")), o.name

# In a small book of its own

def notebook(*sources: str) -> str:
    made = [dict(cell_type="code", source=o[1:], outputs=[], execution_count=None) if o.startswith("!") else dict(cell_type="markdown", source=o) for o in sources]
    made = [o | dict(id=f"cell{i}", metadata={}) for i, o in enumerate(made)]
    return json.dumps(dict(cells=made, metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")), nbformat=4, nbformat_minor=5))

@pytest.fixture
def small(tmp_path) -> Path:
    "A copy of the project with an index and one chapter, which is built in seconds."
    for o in ("book", "tools"): shutil.copytree(ROOT/o, tmp_path/o, ignore=shutil.ignore_patterns("__pycache__"))
    for o in ("settings.ini", "constraints.txt"): shutil.copy(ROOT/o, tmp_path/o)
    for o in ("nbs", "course_lib"): (tmp_path/o).mkdir()
    (tmp_path/"course_lib"/"__init__.py").touch()
    (tmp_path/"nbs"/"index.ipynb").write_text(notebook("# Small\n\n> A small book."))
    (tmp_path/"nbs"/"00_one.ipynb").write_text(notebook("# One\n\n> The first.\n\nMiddling text.", "!1 + 1"))
    return tmp_path

def test_repository_links_when_there_is_one(small):
    ini = small/"settings.ini"
    ini.write_text(re.sub(r"^repo_url =.*", "repo_url = https://github.com/fastai/nbdev", ini.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8")
    done = build(small)
    assert not done.returncode, done.stdout + done.stderr
    links = " ".join(remote_links(BeautifulSoup((small/"_book"/"00_one.html").read_text(encoding="utf-8"), "html.parser")))
    assert "https://colab.research.google.com/github/fastai/nbdev/blob/main/nbs/00_one.ipynb" in links
    assert "https://github.com/fastai/nbdev/edit/main/nbs/00_one.ipynb" in links

def test_rebuild_runs_only_what_changed(small):
    (small/"nbs"/"checks").mkdir()
    (small/"nbs"/"checks"/"00_checker.ipynb").write_text(notebook("# Checker", "!assert True"))
    (small/"nbs"/"01_two.ipynb").write_text(notebook("# Two\n\n> The second.", "!2 + 2"))
    assert not build(small).returncode
    (small/"nbs"/"01_two.ipynb").write_text(notebook("# Two changed\n\n> The second.", "!3 + 3"))
    done = build(small)
    assert not done.returncode, done.stdout
    assert re.search(r"checks/00_checker +cached", done.stdout) and not list((small/"_book").rglob("*checker*")), "a checker runs, but is no page"
    assert re.search(r"  00_one +cached", done.stdout) and not re.search(r"01_two +cached", done.stdout)
    assert "Two changed" in (small/"_book"/"00_one.html").read_text(encoding="utf-8"), "the sidebar of the other pages"
    assert re.search(r"\b6\b", BeautifulSoup((small/"_book"/"01_two.html").read_text(encoding="utf-8"), "html.parser").select_one(".cell_output").get_text())
    (small/"nbs"/"01_two.ipynb").unlink()
    assert not build(small).returncode and not (small/"_book"/"01_two.html").exists()

def test_failures_are_told_in_a_line_and_keep_the_last_book(small):
    assert not build(small).returncode
    (small/"nbs"/"00_one.ipynb").write_text(notebook("# One\n\n> The first.", "Fine.\n\nSee [there](00_one.ipynb#Nowhere)."))
    done = build(small)
    assert done.returncode == 1 and "00_one.ipynb, cell 2, line 3: WARNING" in done.stdout and "Traceback" not in done.stdout + done.stderr
    (small/"nbs"/"00_one.ipynb").write_text(notebook("# One\n\n> The first.", "!1/0"))
    done = build(small)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stdout and "Traceback" not in done.stdout + done.stderr
    trace = small/re.search(r"whole trace: (\S+)\)", done.stdout)[1]
    assert "1/0" in trace.read_text(encoding="utf-8")
    assert "Middling" in (small/"_book"/"00_one.html").read_text(encoding="utf-8")

@pytest.mark.skipif(os.name == "nt", reason="an interrupt cannot be sent to a process alone on Windows")
def test_an_interrupted_build_can_be_run_again(small):
    proc = subprocess.Popen([sys.executable, str(small/"tools"/"book.py")], cwd=small, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)
    for line in proc.stdout:
        if "Rendering" in line: break
    time.sleep(1.5)
    os.killpg(proc.pid, signal.SIGINT)   # as Ctrl-C does: to all of the group
    said = proc.communicate(timeout=60)[0]
    assert proc.returncode and "Interrupted" in said and "Traceback" not in said and not (small/"_book").exists()
    done = build(small)
    assert not done.returncode and "_book/index.html" in done.stdout

def test_pdf_holds_every_page(small, chromium):
    done = build(small, "--pdf")
    pdf = (small/"_book"/"course.pdf").read_bytes()
    assert not done.returncode and pdf.startswith(b"%PDF") and len(pdf) > 10_000, done.stdout
