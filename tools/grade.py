"""Grade a folder of returned notebooks: a table of name, exercise and verdict.

Each notebook is run in a process of its own, in an empty folder, without network, with limits on time and memory. The grader then asks that
process to call the answers, and compares what they return, here. So nothing that a notebook prints or redefines counts, and a notebook that
breaks, ends its process or never ends spoils only its own rows.

An exercise whose arguments cannot be handed to another process, such as functions, has the verdict "by hand".

It is not a sandbox. It stops mistakes, and what a student might try; but a notebook is a program that runs as you do, and one written to do
harm can get round it (through C code, for one). Grade strangers' notebooks in a container or on a machine that you can spare. And
whoever finds the course's solutions, as anybody can, may hand them in: a verdict says that an answer is right, not whose it is.
"""
import argparse, builtins, csv, json, os, queue, signal, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from answer import dumps, loads
from course_lib.exercises import Exercise, Outcome, TooLong, exercises, judge

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 64 << 20 # bytes in one reply

class Stopped(Exception): "A notebook's process did not answer; the message says why."

def processes(pid: int) -> list:
    "The process `pid` and all that it started, where psutil is installed."
    try:
        import psutil
        return [p := psutil.Process(pid), *p.children(recursive=True)]
    except Exception: return [] # not installed, or gone

def in_use(pid: int) -> int:
    "Bytes of memory that the process and all that it started use."
    total = 0
    for o in processes(pid):
        try: total += o.memory_info().rss
        except Exception: pass # it ended just now
    return total

class Session:
    "One notebook's process."
    def __init__(self, cells: list[str], closed: list[str], seconds: float, memory: int):
        self.folder, self.memory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True), memory
        env = {k: v for k, v in os.environ.items() if k.upper() in ("PATH", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH")}
        home = {k: self.folder.name for k in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "COURSE_LIB_HOME", "MPLCONFIGDIR", "IPYTHONDIR")}
        env |= home | dict(PYTHONPATH=os.pathsep.join([str(ROOT/"tools"/"offline"), str(ROOT)]), PYTHONDONTWRITEBYTECODE="1", PYTHONUTF8="1", OMP_NUM_THREADS="1", MPLBACKEND="agg")
        self.process = subprocess.Popen([sys.executable, str(ROOT/"tools"/"answer.py")], cwd=self.folder.name, env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        self.lines = queue.Queue(maxsize=2)
        Thread(target=self._listen, daemon=True).start()
        try: self.ask(dict(cells=cells, closed=closed, memory=memory, seconds=int(seconds) + 60), seconds + 30) # 30 s to start in
        except BaseException:
            self.close()
            raise

    def _listen(self):
        while line := self.process.stdout.readline(LONGEST): self.lines.put(line)
        self.lines.put(b"")

    def _tell(self, line: bytes):
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except OSError: pass # it has ended: `ask` will see

    def ask(self, message: dict, seconds: float) -> dict:
        "Send `message`, and wait for the reply."
        Thread(target=self._tell, args=(json.dumps(message).encode() + b"\n",), daemon=True).start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try: line = self.lines.get(timeout=0.2)
            except queue.Empty:
                if in_use(self.process.pid) > self.memory + (1 << 30): raise Stopped("too much memory")
                continue
            if not line: raise Stopped("the process ended")
            try: return dict(json.loads(line))
            except (ValueError, TypeError, RecursionError): raise Stopped("a reply without sense")
        raise Stopped("too slow")

    def close(self):
        "End the process and all that it started."
        rest = processes(self.process.pid)
        if hasattr(os, "killpg"):
            try: os.killpg(self.process.pid, signal.SIGKILL)
            except OSError: pass
        for o in rest:
            try: o.kill()
            except Exception: pass # it has ended
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

def heard(o: dict) -> Outcome:
    "An outcome from a reply. Anything odd in it is the notebook's doing, and counts as an error."
    try:
        if "error" not in o: return Outcome(loads(o), changed=bool(o["changed"]))
        if o["error"][0] == "TooLong": return Outcome(error=TooLong())
        known = [getattr(builtins, str(k), None) for k in o["error"]]
        return Outcome(error=next(k for k in known if isinstance(k, type) and issubclass(k, BaseException))(str(o["message"])))
    except Exception: return Outcome(error=Exception("a value that cannot be read"))

@dataclass
class Row:
    name: str         # whose, or which notebook
    exercise: str
    verdict: str      # right, not yet, not attempted, missing, by hand (look at it yourself), or why it was stopped
    mistake: str = "" # where it is a known one

def grade_one(ask, name: str, ex: Exercise, seconds: float = 5.) -> Row:
    "Judge one answer, through `ask`."
    cases = [dumps(o(), own=True) for o in ex.cases.values()]
    if '["other", ' in json.dumps(cases): return Row(name, ex.name, "by hand") # a function, say, cannot be handed to another process
    reply = ask(dict(name=ex.name, seconds=seconds, cases=cases), 3*seconds + 5)
    if reply.get("missing"): return Row(name, ex.name, "missing")
    if reply.get("stub"): return Row(name, ex.name, "not attempted")
    got = reply.get("outcomes")
    if not isinstance(got, list) or not 0 < len(got) <= 2*len(ex.cases): raise Stopped("a reply without sense")
    outcomes = [heard(o) for o in got]
    if len(outcomes) < 2*len(ex.cases) and not isinstance(outcomes[-1].error, TooLong): outcomes.append(Outcome(error=TooLong()))
    said = judge(ex, None, run=lambda *_: outcomes)
    return Row(name, ex.name, said.verdict, dict(said.rows).get("mistake", ""))

def source(path: Path) -> list[str]:
    "The code cells of the notebook at `path`."
    if path.stat().st_size > LONGEST: raise ValueError("too large")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]

def grade(path: Path, name: str, folder: Path, seconds: float, memory: int) -> list[Row]:
    "The rows of one notebook: every exercise of the chapters that it answers."
    try: cells = source(path)
    except Exception: return [Row(name, "", "cannot be read")]
    known, session, rows = exercises(), None, []
    chapters = {ex.chapter for ex in known.values() if any(f"def {ex.name}(" in o for o in cells)}
    for ex in [o for o in known.values() if o.chapter in chapters]:
        try:
            if session is None: session = Session(cells, [str(o) for o in (folder, ROOT/"course_lib"/"checks", ROOT/"nbs"/"checks", ROOT/"tests")], seconds, memory)
        except Stopped as e: # the notebook itself does not run to its end
            rows.append(Row(name, ex.name, f"stopped: {e}"))
            break
        try: rows.append(grade_one(session.ask, name, ex))
        except Stopped as e: # only this answer: the next one gets a process of its own
            rows.append(Row(name, ex.name, f"stopped: {e}"))
            session.close()
            session = None
    if session: session.close()
    left = [o.name for o in known.values() if o.chapter in chapters and o.name not in {r.exercise for r in rows}]
    return rows + [Row(name, o, rows[-1].verdict) for o in left] or [Row(name, "", "no exercises")]

def plain(text: str) -> str:
    "`text` without what a terminal or a spreadsheet would obey."
    text = "".join(o if o.isprintable() else "?" for o in text)
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text

def report(rows: list[Row], file: Path | None) -> None:
    "Print `rows` as a table, and write them to `file` as comma-separated values."
    table = [("name", "exercise", "verdict", "mistake"), *((plain(o.name), o.exercise, o.verdict, o.mistake) for o in rows)]
    wide = [max(len(o[i]) for o in table) for i in range(4)]
    print()
    for o in table: print("  ".join(t.ljust(w) for t, w in zip(o, wide)).rstrip())
    if file:
        with open(file, "w", newline="", encoding="utf-8") as f: csv.writer(f).writerows(table)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="the returned notebooks, in it or in folders of it; a path is the name in the table")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write the table to FILE too")
    p.add_argument("--seconds", type=float, default=300, help="how long a notebook may run before its answers are called (default: 300)")
    p.add_argument("--memory", type=float, default=4, metavar="GB", help="how much memory it may use, beyond what PyTorch needs (default: 4)")
    p.add_argument("--at-once", type=int, default=2, metavar="N", help="how many side by side (default: 2)")
    args = p.parse_args()
    paths = [o for o in sorted(args.folder.rglob("*.ipynb")) if not any(q.startswith(".") for q in o.relative_to(args.folder).parts)]
    if not paths: sys.exit(f"There are no notebooks in {args.folder}.")
    def one(path: Path) -> list[Row]:
        start, name = time.monotonic(), path.relative_to(args.folder).with_suffix("").as_posix()
        rows = grade(path, name, args.folder, args.seconds, int(args.memory*(1 << 30)))
        print(f"{plain(name)}: {sum(o.verdict == 'right' for o in rows)} of {len(rows)} right, {time.monotonic() - start:.0f} s", flush=True)
        return rows
    with ThreadPoolExecutor(args.at_once) as pool: rows = [o for found in pool.map(one, paths) for o in found]
    report(rows, args.csv)

if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: sys.exit("Interrupted: no table was written.")
