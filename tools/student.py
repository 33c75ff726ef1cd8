"""Write a copy of the course for a class: every notebook without its solutions and folded answers, everything else as it is.

The exercises still check themselves, so their checks are in the copy, packed out of sight. Whoever is determined can unpack them: it keeps
nobody from a solution but those who would rather not see one.
"""
import argparse, ast, base64, json, re, shutil, sys, tempfile, zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"nbs/checks", "tests", "_build", "_book", "build", "dist", "tools/student.py", "tools/grade.py", "tools/answer.py"}

def left_out(folder: str, names: list[str]) -> set[str]:
    "Which of the files `names` in `folder` are not for the class: what tests and grades, what was built, and what is hidden."
    here = Path(folder).relative_to(ROOT)
    return {o for o in names if o.startswith(".") or o == "__pycache__" or o.endswith(".egg-info") or (here/o).as_posix() in LEFT_OUT}

def is_solution(cell: dict) -> bool:
    "Does this cell only show solutions?"
    if cell["cell_type"] != "code": return False
    try: lines = ast.parse("".join(cell["source"])).body
    except SyntaxError: return False # magics
    return bool(lines) and all(isinstance(o, ast.Expr) and isinstance(o.value, ast.Call) and getattr(o.value.func, "id", "") == "solution" for o in lines)

def without_answers(text: str, what: str = "answer|solution") -> str:
    "Markdown without the folds whose label holds one of the words in `what`."
    return re.sub(rf"<details\b[^>]*>\s*<summary>[^<]*(?:{what}).*?</details>\n*", "", text, flags=re.S | re.I)

def for_class(nb: dict) -> dict:
    "The notebook `nb` without solutions and answers: from the exercises on, without any fold."
    cells, what = [c for c in nb["cells"] if not is_solution(c)], "answer|solution"
    for c in cells:
        if c["cell_type"] != "markdown": continue
        text = "".join(c["source"])
        if re.search("^## Exercises", text, re.M): what = ""
        c["source"] = without_answers(text, what).rstrip("\n").splitlines(keepends=True)
    return {**nb, "cells": cells}

def packed(source: str) -> str:
    "A module that does what `source` does, and cannot be read by accident."
    code = base64.b85encode(zlib.compress(source.encode(), 9)).decode()
    return f'"""The checks of a chapter, packed: this copy of the course comes without solutions."""\nimport base64, zlib\nexec(compile(zlib.decompress(base64.b85decode({code!r})), "<checks>", "exec"))\n'

def write(out: Path) -> int:
    "Write the copy to the folder `out`, all of it or nothing, and return the number of notebooks."
    if out.resolve().is_relative_to(ROOT): sys.exit(f"{out} is inside the course: choose a folder outside it.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())): sys.exit(f"{out} is there already and not empty: nothing was written. Choose another folder, or empty it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".student-") as folder:
        copy = Path(folder)/"course"
        shutil.copytree(ROOT, copy, ignore=left_out)
        notebooks = sorted((copy/"nbs").rglob("*.ipynb"))
        for o in notebooks: o.write_text(json.dumps(for_class(json.loads(o.read_text(encoding="utf-8"))), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        for o in (copy/"course_lib"/"checks").glob("[a-z]*.py"): o.write_text(packed(o.read_text(encoding="utf-8")), encoding="utf-8")
        if out.exists(): out.rmdir()
        copy.rename(out)
    return len(notebooks)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, help="a new or empty folder, outside the course")
    out = p.parse_args().out
    n = write(out)
    print(f"{n} notebooks without solutions are in {out}. The class opens them with: make lab")

if __name__ == "__main__": main()
