"""The checkers of the exercises: right answers pass, wrong ones do not, and each known mistake is called by its name."""
import ast, json, os, re, subprocess, sys, threading, time, warnings
from collections import Counter
from pathlib import Path
import pytest, torch
from bank import answers
from course_lib.exercises import check, difference, exercises, hint, is_stub, judge, progress, solution

ROOT = Path(__file__).resolve().parent.parent
KNOWN = {k: ex for k, ex in exercises().items() if ex.answer.__module__.startswith("course_lib.checks")}

@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_LIB_HOME", str(tmp_path/"home"))
    return tmp_path/"home"

def mistake(panel): return dict(panel.rows).get("mistake")

# The bank

@pytest.mark.parametrize("f, name", answers(), ids=lambda o: o.__name__ if callable(o) else str(o))
def test_bank(f, name):
    said = judge(KNOWN[f.__name__], f, 1.5)
    assert (said.verdict, mistake(said)) == (("right", None) if name is None else ("not yet", name)), said
    if name: assert dict(said.rows)["hint"] and f"hint(\"{f.__name__}\")" in dict(said.rows)["more"]

def test_bank_is_large_enough():
    wrong, right = Counter(f.__name__ for f, name in answers() if name), Counter(f.__name__ for f, name in answers() if not name)
    assert not [k for k in KNOWN if wrong[k] < 3 or right[k] < 1], "three wrong answers and a right one for every exercise"

def test_every_known_mistake_is_met():
    met = {(f.__name__, name) for f, name in answers()}
    missing = {k: [m.name for m in ex.mistakes if (k, m.name) not in met] for k, ex in KNOWN.items()}
    assert all(len({m.name for m in ex.mistakes} - set(missing[k])) >= 3 for k, ex in KNOWN.items()), missing

# No checker that cannot fail

@pytest.mark.parametrize("name, case", [(k, c) for k, ex in KNOWN.items() for c in ex.cases])
def test_each_case_counts(name, case):
    "An answer that is right everywhere but in one case is refused, and that case is shown."
    ex = KNOWN[name]
    order = [*ex.cases]*2
    calls = iter(range(len(order)))
    def answer(*args): return "wrong" if order[next(calls)] == case else ex.answer(*args)
    said = judge(ex, answer)
    assert said.verdict == "not yet" and dict(said.rows)["case"] == case and "wrong" in dict(said.rows)["got"]

@pytest.mark.parametrize("name", KNOWN)
def test_oracle_and_solution_are_two(name):
    "Break either, and the check goes red."
    ex = KNOWN[name]
    assert ex.oracle is not ex.answer and ex.name not in ex.oracle.__code__.co_names
    for junk in (lambda *a: print(end=''), lambda *a: 0, lambda *a: a[0]): assert judge(ex, junk).verdict == "not yet"
    oracle, ex.oracle = ex.oracle, lambda *a: "something else"
    try:
        with pytest.raises(AssertionError, match="own solution is wrong"): solution(name)
    finally: ex.oracle = oracle

@pytest.mark.parametrize("name", KNOWN)
def test_nearly_right(name):
    "One too much, another element type, an axis too many."
    ex = KNOWN[name]
    def nearly(o, how):
        if isinstance(o, (list, tuple)): return type(o)(nearly(p, how) for p in o)
        return how(o)
    def more(o): return o + 1 if not isinstance(o, bytes) else o + b"\0"
    def typed(o): return o.to(torch.complex64) if isinstance(o, torch.Tensor) else str(o)
    def nested(o): return o[None] if isinstance(o, torch.Tensor) else [o]
    for how in (more, typed, nested): assert judge(ex, lambda *a: nearly(ex.answer(*a), how)).verdict == "not yet"

@pytest.mark.parametrize("got, want", [([1, 2, 3], [1, 2]), ([1], [1, 2]), ([[]], [[1]]), (torch.ones(2, 1), torch.ones(2)), (torch.ones(1), torch.ones(2)), (torch.ones(2), 1), (float("nan"), 0.), (0., float("nan")),
                                       (torch.tensor([float("nan"), 1.]), torch.tensor([0., 1.])), (float("inf"), 1e300), ("a", b"a"), (1e-3, 0.), (True, "True"), (None, 0), ([1, 2], torch.tensor([1, 2])), (True, 1)])
def test_differences(got, want): assert difference(got, want)

# What a reader may hand in

def my_relu_untouched():
    "ReLU."

def test_not_attempted():
    def a(x): ...
    def b(x: int = 3) -> int:
        "With types."
        pass
    def c(x):
        "To do."
        raise NotImplementedError
    def d(x): raise NotImplementedError("write me")
    def e(x): return x
    def f(x): raise ValueError
    def g(x): x = 1
    assert [is_stub(o) for o in (my_relu_untouched, a, b, c, d, e, f, g, max, torch.relu)] == [True]*5 + [False]*5
    a.__name__ = "my_relu"
    assert check(a).verdict == "not attempted" and progress().verdict.startswith("0 of")

def relu_like(body, **more):
    space = {}
    exec(f"def my_relu(xs):\n{body}", {**more}, space)
    return space["my_relu"]

@pytest.mark.parametrize("body", ["    while True: pass", "    while True:\n        try: 1/0\n        except Exception: pass", "    return my_relu(xs)", "    import time\n    while True: time.sleep(0.05)"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["main thread", "another thread"])
def test_endless(body, elsewhere, monkeypatch):
    "An endless loop is stopped, whichever thread `check` is called in."
    f, said, before, shouts = relu_like(body), [], threading.active_count(), []
    monkeypatch.setattr(threading, "excepthook", shouts.append)
    f.__globals__["my_relu"] = f
    start = time.monotonic()
    if elsewhere:
        t = threading.Thread(target=lambda: said.append(check(f, seconds=0.5)))
        t.start()
        t.join(10)
    else: said.append(check(f, seconds=0.5))
    assert time.monotonic() - start < 5 and said[0].verdict == "not yet"
    assert mistake(said[0]) == "it does not end" or "RecursionError" in dict(said[0].rows)["got"]
    assert threading.active_count() <= before and not shouts, "the loop still runs, or its thread ended with a traceback"

def test_loop_that_catches_everything():
    "It cannot be stopped, but `check` comes back and says what to do."
    on = [True]
    f = relu_like("    while on[0]:\n        try:\n            while on[0]: pass\n        except: pass", on=on)
    said = check(f, seconds=0.3)
    on[0] = False
    assert mistake(said) == "it does not end" and "restart the kernel" in repr(said)

@pytest.mark.parametrize("error", ["1/0", "xs.foo", "raise SystemExit", "raise KeyboardInterrupt", "exit()", "int('x')", "nowhere", "raise BaseException('b')"])
def test_exceptions_are_shown_without_our_traceback(error, tmp_path):
    file = tmp_path/"mine.py"
    file.write_text(f"def helper(xs):\n    {error}\ndef my_relu(xs):\n    helper(xs)\n    return xs\n")
    space = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    said = check(space["my_relu"])
    assert said.verdict == "not yet" and f"in the line: {error}" in dict(said.rows)["got"]
    for o in ("Traceback", "exercises.py", "outcome("): assert o not in repr(said) + said._repr_html_()

@pytest.mark.parametrize("arguments", ["", "a", "a, b, c"])
def test_wrong_number_of_parameters(arguments):
    space = {}
    exec(f"def my_neuron({arguments}, /): return 1." if arguments else "def my_neuron(): return 1.", space)
    said = check(space["my_neuron"])
    assert said.verdict == "not yet" and ("TypeError" in repr(said)) == (arguments != "a, b, c")

class Evil:
    def __repr__(self): raise RuntimeError("no")
    def __len__(self): raise RuntimeError("no")
    def __eq__(self, other): raise RuntimeError("no")
    def __float__(self): raise MemoryError("no")

def strange(x): return lambda *args: x

@pytest.mark.parametrize("value", [Evil(), object, [Evil()], float("nan"), 1j, b"\xff", "<script>alert(1)</script>", torch.zeros(2).to_sparse(), torch.zeros(1000), range(3), {1: 2}, iter([]), True])
@pytest.mark.parametrize("name", KNOWN)
def test_strange_values(value, name):
    f = strange(value)
    f.__name__ = name
    said = check(f)
    assert said.verdict == "not yet" and "<script>" not in said._repr_html_() and len(repr(said)) < 5000

def test_not_a_function():
    assert "itself" in repr(check(3)) and "itself" in repr(check("my_relu"))
    def my_rleu(x): return x
    assert "my_relu" in repr(check(my_rleu)) and "my_relu" in repr(hint("my_rleu")) and "my_relu" in repr(solution("my_rleu"))
    assert check(lambda x: x).verdict == "no such exercise" and check(print).verdict == "no such exercise"

def test_no_warnings_from_us():
    "The mistakes that an answer is compared with may divide by nothing; the reader is not told."
    def standardize(train, valid): return train, valid
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        check(standardize)
    assert not seen

# Hints, solutions, progress

@pytest.mark.parametrize("name", KNOWN)
def test_hints_and_solutions(name):
    ex = KNOWN[name]
    assert len(ex.hints) >= 2 and hint(name).rows[0][1] == ex.hints[0] and hint(name, 2).rows[0][1] == ex.hints[1]
    shown = solution(name)
    assert repr(shown).startswith(f"def {name}(") and "Exercise(" not in repr(shown)
    assert shown._repr_html_().startswith("<details>") and " open" not in shown._repr_html_()[:60]
    last = ast.unparse(ast.parse(ex.source()).body[0].body[-1])
    for o in [h for m in ex.mistakes for h in (m.name, m.hint)] + ex.hints: assert last not in o, "the solution is given away"

def test_solution_and_tests_mark_nothing(home):
    for k, ex in KNOWN.items():
        solution(k)
        judge(ex, ex.answer)
    assert not home.exists() and progress().verdict == f"0 of {len(KNOWN)} right"

def right_relu(): return relu_like("    return [max(o, 0.) for o in xs]")
def wrong_relu(): return relu_like("    return [abs(o) for o in xs]")

def test_progress_is_kept(home):
    check(wrong_relu())
    assert "tried          my_relu" in repr(progress())
    check(right_relu())
    check(wrong_relu())
    assert "right          my_relu" in repr(progress()) and progress().verdict.startswith("1 of"), "what was solved stays solved"

def test_damaged_progress(home):
    check(right_relu())
    for o in (home/"progress").iterdir(): o.write_bytes(b"\0garbage\xff")
    (home/"progress"/"unknown.right").mkdir()
    assert check(wrong_relu()).verdict == "not yet" and progress().verdict.startswith("1 of")

@pytest.mark.parametrize("how", ["a file", "a broken link", "a closed folder"])
def test_progress_that_cannot_be_kept(home, how, monkeypatch):
    if how == "a file": home.write_text("in the way")
    elif how == "a broken link": home.symlink_to(home.parent/"no"/"where") if os.name != "nt" else home.write_text("")
    else:
        def refuse(*args, **kwargs): raise PermissionError(13, "Permission denied")
        monkeypatch.setattr(Path, "touch", refuse)
    said = check(right_relu())
    assert said.verdict == "right" and "not kept" in repr(said)
    progress()

def test_two_at_once(home):
    "Processes that check at the same time lose nothing."
    code = ("import sys\nfrom course_lib.exercises import exercises, check\n"
            "for k in list(exercises())[int(sys.argv[1])::2]:\n    ex = exercises()[k]; f = lambda *a, ex=ex: ex.answer(*a); f.__name__ = k\n    assert check(f).verdict == 'right'")
    both = [subprocess.Popen([sys.executable, "-c", code, str(i)]) for i in range(2)]
    assert [o.wait(120) for o in both] == [0, 0]
    assert progress().verdict == f"{len(KNOWN)} of {len(KNOWN)} right"

# Where it stands

def test_importing_is_cheap_and_goes_nowhere():
    code = ("import sys, course_lib.exercises\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules\ncourse_lib.exercises.exercises()\n"
            "print([o for o in sys.modules if o.startswith('course_lib.') and not o.startswith(('course_lib.exercises', 'course_lib.checks'))])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

def test_plain_text_is_ascii():
    "A terminal on Windows may not know more."
    for o in [check(wrong_relu()), hint("my_relu"), progress()]: repr(o).encode("ascii")
    for ex in KNOWN.values():
        for m in ex.mistakes: (m.name + m.hint + "".join(ex.cases)).encode("ascii")

def cells(chapter):
    nb = json.loads((ROOT/"nbs"/f"{chapter}.ipynb").read_text(encoding="utf-8"))
    return [(c["cell_type"], "".join(c["source"])) for c in nb["cells"]]

@pytest.mark.parametrize("name", KNOWN)
def test_in_the_chapter(name):
    "The chapter states the exercise, has its stub and its check, then its solution; the stub is the solution's signature."
    ex = KNOWN[name]
    code = [o for kind, o in cells(ex.chapter) if kind == "code"]
    stub = [o for o in code if re.search(rf"^check\({name}\)", o, re.M)]
    assert len(stub) == 1 and code.count(f'solution("{name}")') == 1, "one cell with the stub and check(name), one with solution(\"name\")"
    space = {"Tensor": torch.Tensor}
    exec(stub[0].replace(f"check({name})", ""), space)
    assert is_stub(space[name])
    assert stub[0].split('"')[0].rstrip() == ex.source().split('"')[0].rstrip(), "the same parameters"

@pytest.mark.parametrize("chapter", sorted({ex.chapter for ex in KNOWN.values()}))
def test_statements_hold(chapter):
    "The examples in the statements, `    f(x)   →   y` on one line or several, are what the solution and the oracle return."
    text = "\n".join(o for kind, o in cells(chapter) if kind == "markdown")
    found = re.findall(r"^    ((\w+)\((?:(?!\n\n)[^→])*?)\s+→   (.*)$", text, re.M)
    assert len(found) >= 3 and len(found) == len(re.findall(r"^    .*→   ", text, re.M))
    for call, name, value in found:
        space = dict(torch=torch, tensor=torch.tensor)
        for f in (KNOWN[name].answer, KNOWN[name].oracle):
            said = difference(eval(call, {**space, name: f}), eval(value, space))
            assert not said, f"{call}: {said}"

@pytest.mark.parametrize("chapter", sorted({ex.chapter for ex in KNOWN.values()}))
def test_questionnaire(chapter):
    "8 to 15 questions, each with a folded answer, at least three of them about what something returns."
    text = "\n".join(o for kind, o in cells(chapter) if kind == "markdown").split("## Questionnaire")[1].split("\n## ")[0]
    between = r"(?:(?!\*\*\d+\.\*\*|<details>).*\n)*" # a question may show code
    questions = re.findall(rf"^\*\*(\d+)\.\*\* (.*)\n{between}<details><summary>Answer</summary>\n\n", text, re.M)
    assert 8 <= len(questions) <= 15 and [int(i) for i, _ in questions] == list(range(1, len(questions) + 1))
    assert text.count("<details>") == text.count("</details>") == len(questions)
    assert sum("return" in q and "why" in q.lower() or "what does" in q.lower() for _, q in questions) >= 3

def test_names_are_free():
    "No exercise is called as something in the library."
    taken = {o for p in (ROOT/"course_lib").glob("*.py") for o in re.findall(r"^(?:def|class) (\w+)", p.read_text(encoding="utf-8"), re.M)}
    assert not taken & set(KNOWN)
