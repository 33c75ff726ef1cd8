"""The tools that run the chapters: what they refuse, what they remember, and that nothing reaches a network."""
import json, os, socket, subprocess, sys
import chapters, pytest

def notebook(path, *cells: str):
    "A small notebook: a string that starts with # is Markdown, any other is code."
    def cell(i, o):
        if o.startswith("# "): return dict(cell_type="markdown", id=f"c{i}", metadata={}, source=o)
        return dict(cell_type="code", id=f"c{i}", metadata={}, source=o, outputs=[], execution_count=None)
    kernel = dict(display_name="python3", language="python", name="python3")
    nb = dict(cells=[cell(i, o) for i, o in enumerate(cells)], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    path.write_text(json.dumps(nb), encoding="utf-8")
    return path

@pytest.fixture
def nbs(tmp_path, monkeypatch):
    "An empty folder in the place of `nbs/`."
    monkeypatch.setattr(chapters, "NBS", tmp_path/"nbs")
    monkeypatch.setattr(chapters, "EXECUTED", tmp_path/"executed")
    (tmp_path/"nbs").mkdir()
    return tmp_path/"nbs"

def run_all() -> dict[str, chapters.Run]:
    return {chapters.name(r.path): r for r in chapters.run_all(chapters.notebooks(), report=str)}

def test_what_goes_wrong_is_one_line(nbs):
    notebook(nbs/"00_fine.ipynb", "# Fine\n\n> It is.", "assert 1 + 1 == 2")
    notebook(nbs/"01_raises.ipynb", "# Raises", "x = 0", "1/x")
    notebook(nbs/"02_leaves.ipynb", "# Leaves", "open('left.txt', 'w').close()")
    notebook(nbs/"03_answers.ipynb", "# Answers\n<details>\n\n```python\n>>> two\n3\n```\n</details>", "two = 2")
    notebook(nbs/"04_network.ipynb", "# Network", "import urllib.request", "urllib.request.urlopen('http://192.0.2.1')")
    notebook(nbs/"05_dies.ipynb", "# Dies", "import os; os._exit(3)")
    edited = nbs/"06_edited.ipynb"
    notebook(edited, "# Edited", f"open({str(edited)!r}, 'w').write('{{\"cells\": []}}');")
    notebook(nbs/"_draft.ipynb", "1/0")
    runs = run_all()
    assert list(runs) == ["00_fine", "01_raises", "02_leaves", "03_answers", "04_network", "05_dies", "06_edited"]
    assert runs["00_fine"].error == "" and runs["00_fine"].checks == 1 and str(runs["00_fine"]).endswith("It is.")
    assert runs["01_raises"].error == "cell 3: ZeroDivisionError: division by zero" and "----> 1 1/x" in runs["01_raises"].trace
    assert "left.txt" in runs["02_leaves"].error
    assert runs["03_answers"].error and "Got:\n    2" in runs["03_answers"].trace
    assert "the network is off in this run: '192.0.2.1' was asked for" in runs["04_network"].error
    assert runs["05_dies"].error
    assert runs["06_edited"].error == "was edited while it ran: run it again"
    assert all("\n" not in str(o) for o in runs.values())

def test_only_what_has_changed_is_run(nbs):
    path = notebook(nbs/"00_fine.ipynb", "# Fine", "1 + 1")
    def shown() -> str: return chapters.stored(path).read_text(encoding="utf-8")
    assert not run_all()["00_fine"].cached
    assert run_all()["00_fine"].cached
    notebook(path, "# Another title", "1 + 1")
    assert run_all()["00_fine"].cached, "changed prose needs no run"
    assert "Another title" in shown() and '"2"' in shown(), "but is in what is stored, beside the outputs"
    notebook(path, "# Another title", "1 + 2")
    assert not run_all()["00_fine"].cached and '"3"' in shown()
    notebook(path, "# Another title", "1/0")
    assert run_all()["00_fine"].error and run_all()["00_fine"].error, "a failure is never remembered as a success"

def test_a_changed_module_is_noticed(nbs, monkeypatch, tmp_path):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    (tmp_path/"course_lib").mkdir()
    (tmp_path/"constraints.txt").write_text("")
    for mod, code in (("first", "x = 1"), ("second", "from course_lib.first import x"), ("third", "y = 2")): (tmp_path/"course_lib"/f"{mod}.py").write_text(code)
    nb = chapters.read(notebook(nbs/"00_uses.ipynb", "from course_lib.second import x"))
    before = chapters.key(nb)
    (tmp_path/"course_lib"/"third.py").write_text("y = 3")
    assert chapters.key(nb) == before
    (tmp_path/"course_lib"/"first.py").write_text("x = 2")
    assert chapters.key(nb) != before

def test_an_unknown_chapter_is_refused():
    with pytest.raises(SystemExit, match="There is no chapter 99_nothing. There are: index"): chapters.select(["99_nothing"])

def offline(code: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(chapters.ROOT/"tools"/"offline")}
    return subprocess.run([sys.executable, "-c", f"import socket\n{code}"], env=env, capture_output=True, text=True, timeout=20)

@pytest.mark.parametrize("code", ["socket.create_connection(('192.0.2.1', 80), timeout=5)", "socket.getaddrinfo('example.org', 443)",
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))", "socket.gethostbyname('example.org')"])
def test_the_network_is_off(code):
    run = offline(code)
    assert run.returncode == 1 and "OSError: the network is off in this run" in run.stderr, run.stderr

@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        run = offline(f"socket.create_connection(({host!r}, {server.getsockname()[1]}), timeout=5).sendall(b'x')")
    assert run.returncode == 0, run.stderr
