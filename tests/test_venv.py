"""`make` makes its environment, notices one that is of no use, and says in one line why it could not."""
import os, shutil, signal, subprocess, sys, time
import pytest
from chapters import ROOT

# Stands in for pip, which would need a network: `python -m pip` finds it first in the folder it is started in.
PIP = '''
import os, sys, time
print("Collecting", *sys.argv[1:], flush=True)
if os.environ.get("PIP_DOES") == "fail": sys.exit("ERROR: no matching distribution")
if os.environ.get("PIP_DOES") == "hang": open("hangs", "w").close(); time.sleep(60)
open("installed", "a").write("once ")
'''
# Stands in for the venv module, which would spend seconds on unpacking pip.
VENV = '''
import sys
sys.path.pop(0)
import venv
venv.EnvBuilder(symlinks=True).create(sys.argv[1])
'''

@pytest.fixture
def project(tmp_path):
    "A copy of what makes the environment, in a folder with a space in its name."
    folder = tmp_path/"a course"
    (folder/"tools").mkdir(parents=True)
    for o in ("tools/venv.py", "settings.ini", "setup.py", "pyproject.toml", "constraints.txt", "Makefile"): shutil.copy(ROOT/o, folder/o)
    (folder/"pip.py").write_text(PIP)
    if os.name != "nt": (folder/"venv.py").write_text(VENV)
    return folder

def make(folder, does="", cmd=(sys.executable, "tools/venv.py")) -> tuple[int, str, str]:
    run = subprocess.run(cmd, cwd=folder, env={**os.environ, "PIP_DOES": does}, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in run.stdout + run.stderr
    return run.returncode, run.stdout, run.stderr

def times_installed(folder) -> int: return len((folder/"installed").read_text().split()) if (folder/"installed").exists() else 0

def test_made_once(project):
    code, out, err = make(project)
    assert (code, err) == (0, "") and out.splitlines()[-1] == "The environment is ready."
    assert "-c constraints.txt -e .[dev]" in (project/"_build"/"install.log").read_text(), "every install carries the pins"
    assert make(project) == (0, "", "") and times_installed(project) == 1
    for o in project.iterdir(): os.utime(o)
    assert make(project) == (0, "", ""), "new dates are no new requirements"

def test_brought_up_to_date(project):
    make(project)
    (project/"constraints.txt").write_text("torch==2.13.0\n")
    (project/".venv"/"kept").touch()
    assert "bringing .venv up to date" in make(project)[1] and times_installed(project) == 2 and (project/".venv"/"kept").exists()
    assert make(project) == (0, "", "")

def test_half_made(project):
    (project/".venv"/"bin").mkdir(parents=True)
    (project/".venv"/"left over").touch()
    code, out, _ = make(project)
    assert code == 0 and "unfinished: making it again" in out and not (project/".venv"/"left over").exists()

@pytest.mark.skipif(os.name == "nt", reason="a Python that runs cannot be removed there")
def test_its_python_is_gone(project):
    make(project)
    for o in (project/".venv"/"bin").glob("python*"): o.unlink()
    code, out, _ = make(project)
    assert code == 0 and "making it again" in out and times_installed(project) == 2

def test_moved(project):
    make(project)
    moved = project.rename(project.with_name("moved"))
    code, out, _ = make(moved)
    assert code == 0 and "making it again" in out
    assert make(moved) == (0, "", "")

def test_a_failure_is_one_line(project):
    code, _, err = make(project, "fail")
    assert code != 0 and err.startswith("Installing the requirements failed: is there a connection") and len(err.splitlines()) == 1
    log = project/"_build"/"install.log"
    assert str(log.relative_to(project)) in err and "no matching distribution" in log.read_text()
    assert make(project)[0] == 0, "and running it again mends it"

@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent there")
def test_interrupted(project):
    proc = subprocess.Popen([sys.executable, "tools/venv.py"], cwd=project, env={**os.environ, "PIP_DOES": "hang"}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 30
    while not (project/"hangs").exists() and time.monotonic() < end: time.sleep(0.05)
    os.killpg(proc.pid, signal.SIGINT) # as Ctrl-C does: all that runs in the terminal hears it
    _, err = proc.communicate(timeout=10)
    assert proc.returncode != 0 and err == "Interrupted: run the same command again to finish.\n"
    code, out, _ = make(project)
    assert code == 0 and "unfinished: making it again" in out

def test_python_is_too_old(project):
    settings = project/"settings.ini"
    settings.write_text(settings.read_text(encoding="utf-8").replace("min_python = 3.11", "min_python = 9.0"), encoding="utf-8")
    code, out, err = make(project)
    assert code != 0 and out == "" and "is too old: the course needs 9.0 or later" in err and len(err.splitlines()) == 1
    assert not (project/".venv").exists()

def test_a_folder_that_cannot_be_written(project):
    (project/"_build").write_text("a file where a folder should be")
    code, _, err = make(project)
    assert code != 0 and err.startswith("Cannot make .venv: ") and len(err.splitlines()) == 1

@pytest.mark.skipif(not shutil.which("make"), reason="make is not here")
def test_make_makes_it(project):
    code, out, _ = make(project, cmd=("make", f"PYTHON={sys.executable}", "venv"))
    assert code == 0 and "The environment is ready." in out
    code, out, err = make(project, cmd=("make", "PYTHON=python9", "venv"))
    assert code != 0 and "There is no python9 here: install Python" in out + err
    assert "make book" in make(project, cmd=("make",))[1], "make alone lists what there is"
