"""Make `.venv` with everything the course needs, or say in one line why that is not possible.

Run with any Python that has `venv`: `python3 tools/venv.py`. A finished environment is left alone, a half-made one is made
again, and one that is older than the requirements is brought up to date.
"""
import argparse, hashlib, os, shutil, subprocess, sys, time
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT/".venv"
PYTHON = VENV/("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV/"complete"   # written last; holds the folder and what was installed: an environment that was moved or cut off has none that fits
LOG = ROOT/"_build"/"install.log"
NEEDS = [ROOT/o for o in ("settings.ini", "setup.py", "pyproject.toml", "constraints.txt")]

def complete() -> bool:
    "Was the environment finished, in this folder, and does its Python still run?"
    try: return stamped()[0] == str(ROOT) and subprocess.run([str(PYTHON), "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError: return False

def stamped() -> list:
    "The folder and the requirements that the environment was made for."
    return (STAMP.read_text(encoding="utf-8") + "\n").split("\n")[:2]

def needs() -> str:
    "Changes with the requirements: their content, for a fresh clone has fresh dates."
    return hashlib.sha256(b"\0".join(o.read_bytes().replace(b"\r\n", b"\n") for o in NEEDS)).hexdigest()

def step(what: str, *cmd: str, hint: str):
    "Run `cmd` with its output in the log, showing that it is alive; end with one line if it fails."
    start, shown = time.monotonic(), 0.0
    with LOG.open("a", encoding="utf-8", errors="replace") as log:
        proc = subprocess.Popen(cmd, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        for line in proc.stdout:
            log.write(line)
            now = time.monotonic() - start
            if now - shown > 10 and line.startswith(("Collecting", "Downloading", "Installing", "Building", "  Downloading")):
                print(f"  {now:4.0f} s  {' '.join(line.split()[:2])[:60]}", flush=True)
                shown = now
        if proc.wait(): sys.exit(f"{what} failed: {hint} (everything it printed is in {LOG.relative_to(ROOT)})")

def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    config = ConfigParser(delimiters=["="], interpolation=None)
    config.read(ROOT/"settings.ini", encoding="utf-8")
    oldest = tuple(map(int, config["DEFAULT"]["min_python"].split(".")))
    if complete():
        if stamped()[1] == needs(): return
        STAMP.unlink()
        print("The requirements have changed: bringing .venv up to date.", flush=True)
    else:
        if sys.version_info[:2] < oldest:
            sys.exit(f"Python {sys.version.split()[0]} is too old: the course needs {'.'.join(map(str, oldest))} or later. "
                     "Install one and name it: make PYTHON=python3.11")
        if VENV.exists() or VENV.is_symlink():
            print("The environment in .venv is unfinished: making it again.", flush=True)
            try: VENV.unlink() if VENV.is_symlink() or VENV.is_file() else shutil.rmtree(str(VENV))
            except OSError as e: sys.exit(f"Cannot remove .venv ({e.strerror}: {e.filename}): close what uses it, then run this again.")
        print("Making the environment in .venv (once: about 2 GB to download, a few minutes).", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    if not PYTHON.exists():
        step("Making .venv", sys.executable, "-m", "venv", str(VENV), hint="does this Python have venv? On Debian and Ubuntu: apt install python3-venv")
    step("Installing the requirements", str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt", "-e", ".[dev]",
         hint="is there a connection, and room on the disk? Running the same command again goes on from here")
    STAMP.write_text(f"{ROOT}\n{needs()}", encoding="utf-8")
    print("The environment is ready.", flush=True)

if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: sys.exit("Interrupted: run the same command again to finish.")
    except OSError as e: sys.exit(f"Cannot make .venv: {e.strerror}: {e.filename}")
