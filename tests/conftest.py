"""The chapters run in the background, two at once, while the house rules are read; each is one test, shown as it ends."""
import queue
import chapters, pytest

ORDER = {"test_house.py": 0, "test_chapters.py": 1, "test_book.py": 3}  # anything else is between
BUDGET = 60, 120  # seconds for a chapter, and for chapter 12: told, never asserted, for machines differ

class Background(chapters.Background):
    "Hands over each `Run` as it ends."
    def __init__(self, paths: list, show):
        self.show, self.runs, self.ended, self.shown = show, {}, queue.SimpleQueue(), False
        super().__init__(paths, False, self.ended.put)

    def wait(self, path) -> chapters.Run:
        "The run of `path`; the lines of others that end meanwhile are shown too."
        while path not in self.runs:
            try: r = self.ended.get(timeout=0.2)
            except queue.Empty:
                if self.thread.is_alive() or not self.ended.empty(): continue
                raise self.error or RuntimeError(f"{path.name} was not run")
            self.runs[r.path] = r
            self.show(line(r))
        return self.runs[path]

def line(r: chapters.Run) -> str:
    "A chapter's line; one that took long says so."
    budget, text = BUDGET[r.path.stem.startswith("12_")], str(r)
    if not r.error and len(text) > 120: text = text[:119].rstrip() + "…"
    return text + (f"  (over its budget of {budget} s)" if r.seconds > budget else "")

def pytest_collection_modifyitems(items):
    items.sort(key=lambda o: ORDER.get(o.path.name, 2))

def pytest_collection_finish(session):
    paths = [o.callspec.params["path"] for o in session.items if "background" in o.fixturenames]
    if session.config.option.collectonly or not paths: return
    terminal, capture = map(session.config.pluginmanager.getplugin, ("terminalreporter", "capturemanager"))
    def show(text: str):
        with capture.global_and_fixture_disabled():
            file = terminal.currentfspath
            if not session.config.background.shown: terminal.ensure_newline()
            else: terminal.currentfspath = None
            terminal.write_line(text)
            terminal.currentfspath = file  # else pytest would name the file again before each chapter
            session.config.background.shown = True
    session.config.background = Background(paths, show)

@pytest.fixture
def background(request) -> Background: return request.config.background

def pytest_report_teststatus(report):
    "A chapter has a line of its own: no dot beside it."
    if report.when == "call" and "test_chapter[" in report.nodeid and not report.skipped: return report.outcome, "", report.outcome.upper()

def pytest_sessionfinish(session, exitstatus):
    session.config.exitstatus = exitstatus
    if hasattr(session.config, "background"): session.config.background.stop()

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    "The last line of the run is the count; what could not even be tried counts as failed."
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is None or config.option.collectonly: return
    n = {k: sum(getattr(o, "count_towards_summary", True) for o in v) for k, v in terminal.stats.items()}
    passed, failed, skipped = n.get("passed", 0), n.get("failed", 0) + n.get("error", 0), n.get("skipped", 0)
    if not failed and getattr(config, "exitstatus", 0) in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR): failed = 1
    terminal.ensure_newline()
    terminal.write_line(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
