"""The student copy holds no answers; the grader's verdicts are its own, whatever a returned notebook tries."""
import ast, csv, inspect, json, os, re, subprocess, sys
from pathlib import Path
import pytest
from answer import dumps
from bank import answers
from course_lib.exercises import exercises

ROOT = Path(__file__).resolve().parent.parent

def tool(name, *args, seconds=300):
    return subprocess.run([sys.executable, ROOT/"tools"/f"{name}.py", *map(str, args)], capture_output=True, text=True, encoding="utf-8", timeout=seconds)

def notebook(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=[dict(cell_type="code", metadata={}, source=o, outputs=[], execution_count=None) for o in cells], metadata={}, nbformat=4, nbformat_minor=5)))

# The student copy

@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    out = tmp_path_factory.mktemp("class")/"course"
    done = tool("student", out)
    assert done.returncode == 0, done.stderr
    return out

def test_copy_holds_no_solution(copy):
    text = {o: o.read_text(encoding="utf-8", errors="replace") for o in copy.rglob("*") if o.suffix in (".py", ".ipynb", ".md", ".txt", ".toml", ".ini")}
    for k, ex in exercises().items():
        lines = [json.dumps(o.strip())[1:-1] for o in ex.source().split('"\n', 1)[1].splitlines()] # as a notebook has them
        assert not [o for o, t in text.items() if o.suffix == ".ipynb" and all(line in t for line in lines)], f"the solution of {k}"
        assert not [o for o, t in text.items() if ex.source() in t]
        assert not [o for o, t in text.items() if f'"solution(\\"{k}\\")"' in t]
        for m in ex.mistakes: assert not (found := [o.name for o, t in text.items() if m.hint in t]), f"{k}: a hint stands in {found}"
    folds = {o.name: re.findall(r"<summary>([^<]*)", t) for o, t in text.items() if o.suffix == ".ipynb" and o.name != "A_exercises.ipynb"}
    assert not [o for o, found in folds.items() if re.search("answer|solution|expect", " ".join(found), re.I)]
    assert not (copy/"nbs"/"checks").exists() and not (copy/"tests").exists() and not (copy/"tools"/"grade.py").exists()

def test_copy_is_whole_otherwise(copy):
    sys.path.insert(0, str(ROOT/"tools"))
    from student import is_solution
    for path in (ROOT/"nbs").glob("*.ipynb"):
        def kept(folder): return json.loads((folder/path.name).read_text(encoding="utf-8"))["cells"]
        was, now = [c for c in kept(ROOT/"nbs") if not is_solution(c)], kept(copy/"nbs")
        assert [c["cell_type"] for c in was] == [c["cell_type"] for c in now]
        for a, b in zip(was, now):
            if "<details>" not in "".join(a["source"]): assert "".join(a["source"]).rstrip("\n") == "".join(b["source"]).rstrip("\n") and a.get("outputs") == b.get("outputs")

def test_copy_checks(copy, tmp_path):
    "In the copy, check and hint work as they do in the course, and there is no solution to show."
    code = ("from course_lib.exercises import *\nassert 'course' in __import__('course_lib').__file__\ndef my_relu(xs): return [abs(o) for o in xs]\n"
            "print(check(my_relu), hint('my_relu'), solution('my_relu'))")
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env={**os.environ, "PYTHONPATH": str(copy), "COURSE_LIB_HOME": str(tmp_path)}, capture_output=True, text=True)
    assert "negative numbers become positive" in done.stdout and "hint 1 of" in done.stdout and "without solutions" in done.stdout, done.stderr

def test_copy_refuses_a_folder_in_use(tmp_path):
    (tmp_path/"mine.txt").write_text("do not touch")
    done = tool("student", tmp_path)
    assert done.returncode and "not empty" in done.stderr and "Traceback" not in done.stderr and os.listdir(tmp_path) == ["mine.txt"]
    done = tool("student", ROOT/"_build"/"student")
    assert done.returncode and "outside" in done.stderr and not (ROOT/"_build"/"student").exists()

# Grading

SETUP = "import operator, struct, torch, numpy as np\nfrom torch import Tensor, tensor\nfrom course_lib.exercises import check, progress"
RELU = "def my_relu(xs): return [max(o, 0.) for o in xs]"

def code(f):
    "The answer `f` with what its bank imports and defines for it, as a reader would have written it."
    text = Path(f.__code__.co_filename).read_text(encoding="utf-8")
    nodes = [o for o in ast.parse(text).body[1:] if not getattr(o, "decorator_list", None) and getattr(o, "module", "") != "bank"]
    return "\n".join([*(ast.get_source_segment(text, o) for o in nodes), re.sub(r"\A@.*\n", "", inspect.getsource(f))])

ALONE = "it does not end", "it returns a generator" # the one has a test of its own, the other stays in its process
HOSTILE = {
    "redefines_check": ["import course_lib.exercises as e\ndef check(f): return 'right'\nfor o in ('check', 'judge', 'difference', '_differ'): setattr(e, o, lambda *a, **k: '')",
                        "def my_relu(xs): return xs", "check(my_relu)"],
    "prints_verdicts": ["def my_relu(xs): return [abs(o) for o in xs]", "print('my_relu: right'); print('{\"ready\": true}')"],
    "talks_to_the_grader": ["import os, json\ndef my_relu(xs):\n    for fd in range(3, 30):\n        try: os.write(fd, b'{\"verdict\": \"right\", \"outcomes\": []}\\n')\n        except OSError: pass\n    return xs"],
    "talks_nonsense": ["import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'['*100000 + b'\\n')\n    except OSError: pass", RELU],
    "uses_the_solution": ["try: from course_lib.checks.matmul import my_relu as r\nexcept BaseException: r = None\ndef my_relu(xs):\n    from course_lib.checks import matmul\n    return matmul.my_relu.answer(xs)"],
    "reads_the_solution": ["import course_lib, os\ndef my_relu(xs): return eval(open(os.path.join(os.path.dirname(course_lib.__file__), 'checks', 'matmul.py')).read())"],
    "exits": [RELU, "import sys; sys.exit()", "exit()", "quit()"],
    "dies": ["import os\ndef my_relu(xs): os._exit(0)", "def my_neuron(x, w, b):\n    if len(x) != len(w): raise ValueError\n    return max(0, b + sum(o*p for o, p in zip(x, w)))"],
    "dies_at_once": [RELU, "import os; os._exit(0)"],
    "crashes": [RELU, "import ctypes; ctypes.string_at(0)"],
    "never_ends": ["while True: pass", RELU],
    "never_ends_later": ["def my_relu(xs):\n    while True:\n        try:\n            while True: pass\n        except: pass", "def my_neuron(x, w, b):\n    while True: pass"],
    "eats_memory": ["x = []\nwhile True: x.append(bytearray(10**8))", "def my_relu(xs): return [bytearray(10**9) for _ in range(100)]"],
    "forks": ["import os, subprocess, multiprocessing\nfor _ in range(1000):\n    try: os.fork()\n    except PermissionError: break\nsubprocess.run(['sleep', '1000'])", RELU],
    "escapes": ["import os, shutil, pathlib\nhere = pathlib.Path({folder!r})\nfor f in (lambda: (here/'stolen').write_text('x'), lambda: os.remove(here/'good.ipynb'), lambda: shutil.rmtree(here), lambda: os.rename(here, str(here) + '2'), "
                "lambda: os.symlink(here, 'link'), lambda: open('link/stolen', 'w')):\n    try: f()\n    except OSError: pass",
                "def my_relu(xs): return eval(open({folder!r} + '/good.ipynb').read())"],
    "calls_home": ["import socket\ndef my_relu(xs):\n    socket.create_connection(('93.184.216.34', 80), timeout=1)\n    return [max(o, 0.) for o in xs]"],
    "strange_values": ["class E:\n    def __getattr__(self, k): raise MemoryError\nclass L(list):\n    def __len__(self): return 10**12\ndef my_relu(xs): return L([E()])",
                       "def dense(x, w, b): return torch.zeros(1).expand(10**12)", SETUP, "def my_neuron(x, w, b): return 10**10000"],
    "changes": ["def my_relu(xs):\n    for i, o in enumerate(xs): xs[i] = max(o, 0)\n    return xs"],
    "=cmd": [RELU],
}

@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("returned")
    right = {f.__name__: f for f, name in answers() if not name}
    wrong = {f.__name__: (f, name) for f, name in answers() if name and name not in ALONE}
    notebook(folder/"good.ipynb", SETUP, "%matplotlib inline\n1/0", *[f"{code(f)}\ncheck({k})" for k, f in right.items()], "progress()")
    notebook(folder/"anna"/"wrong.ipynb", SETUP, *[code(f) for f, _ in wrong.values()])
    notebook(folder/"stubs.ipynb", SETUP, "def my_relu(xs):\n    'ReLU.'\n    ...", "def dense(x, w, b): raise NotImplementedError")
    (folder/"broken.ipynb").write_text("{ not json")
    notebook(folder/"empty.ipynb", "1 + 1")
    for k, cells in HOSTILE.items(): notebook(folder/f"{k}.ipynb", SETUP, *[o.replace("{folder!r}", repr(str(folder))) for o in cells])
    before = sorted(o.name for o in folder.rglob("*"))
    done = tool("grade", folder, "--csv", folder.parent/"table.csv", "--seconds", 5, "--memory", 1.5)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert sorted(o.name for o in folder.rglob("*")) == before, "a notebook wrote into the folder"
    with open(folder.parent/"table.csv", newline="", encoding="utf-8") as f: rows = list(csv.DictReader(f))
    for o in rows: assert o["verdict"] in done.stdout
    return {(o["name"], o["exercise"]): (o["verdict"], o["mistake"]) for o in rows}

def test_right_and_wrong(table):
    known = exercises()
    by_hand = {k for k, ex in known.items() if '["other", ' in json.dumps([dumps(o(), own=True) for o in ex.cases.values()])}
    for k, ex in known.items():
        if ex.chapter[0].isdigit(): assert table["good", k] == ("by hand" if k in by_hand else "right", ""), k
    for name, want in {f.__name__: name for f, name in answers() if name and name not in ALONE}.items():
        assert table["anna/wrong", name] == (("by hand", "") if name in by_hand else ("not yet", want)), name
    assert sum(o[0] == "by hand" for o in table.values()) < len(known)/4, "most exercises are graded"
    assert table["stubs", "my_relu"][0] == table["stubs", "dense"][0] == "not attempted" and table["stubs", "my_neuron"][0] == "missing"
    assert table["broken", ""][0] == "cannot be read" and table["empty", ""][0] == "no exercises"

@pytest.mark.parametrize("name", [o for o in HOSTILE if o not in ("exits", "forks", "=cmd")])
def test_nothing_is_gained(table, name):
    "No trick makes a wrong answer right."
    verdict, mistake = table[name, "my_relu"]
    assert verdict == "not yet" or verdict.startswith("stopped: "), verdict

def test_what_is_said(table):
    assert table["redefines_check", "my_relu"] == ("not yet", "") and table["prints_verdicts", "my_relu"] == ("not yet", "negative numbers become positive")
    assert table["changes", "my_relu"] == ("not yet", "it changes its argument")
    for o in ("exits", "forks", "'=cmd"): assert table[o, "my_relu"] == ("right", ""), "what does not touch the answer costs nothing"
    assert table["dies", "my_relu"][0] == "stopped: the process ended" and table["dies", "my_neuron"] == ("right", ""), "only its own row"
    assert table["dies_at_once", "my_relu"][0] == table["crashes", "my_relu"][0] == "stopped: the process ended"
    assert table["never_ends", "my_relu"][0].startswith("stopped: ")
    assert table["never_ends_later", "my_neuron"] == ("not yet", "it does not end")

def test_help():
    for o in ("student", "grade"): assert "usage" in tool(o, "--help").stdout
    done = tool("grade", ROOT/"tools")
    assert done.returncode and "no notebooks" in done.stderr
