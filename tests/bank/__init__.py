"""The wrong-answer bank: answers that readers give, each with the mistake that must be named, and right ones that go another way than the solution.

One file per chapter. A function is called as its exercise is; `wrong("...")` above it says what the checker must say.
"""
import runpy
from pathlib import Path

_bank = []

def wrong(mistake: str):
    "The function below is a wrong answer, and this is the name of its mistake."
    return lambda f: _bank.append((f, mistake)) or f

def right(f):
    "The function below is a right answer."
    _bank.append((f, None))
    return f

def answers() -> list[tuple]:
    "Every answer in the bank: (function, the name of its mistake or None if it is right)."
    if not _bank:
        for o in sorted(Path(__file__).parent.glob("[0-9]*.py")): runpy.run_path(str(o))
    return _bank
