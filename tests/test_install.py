"""What `pip install` gives a stranger: both distributions hold the digits, and work far from this folder."""
import shutil, subprocess, sys, tarfile, zipfile
from email import message_from_bytes
from pathlib import Path
import pytest
from chapters import ROOT
from packaging.requirements import Requirement
from packaging.version import Version
from test_house import CFG, files, requirements

DIGITS = [f"course_lib/_mnist/{o}" for o in ("README.md", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")]

def call(*cmd, cwd) -> str:
    run = subprocess.run([sys.executable, *map(str, cmd)], cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout

def isolation() -> list[str]:
    "No download where the setuptools that is here will do."
    try: import setuptools
    except ImportError: return []
    return ["--no-isolation"] if Version(setuptools.__version__) >= Version("77") else []

@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    "The sdist, the wheel built from it, and the wheel built straight from the folder."
    folder = tmp_path_factory.mktemp("build")
    for o in files():
        if o.parts[len(ROOT.parts)] in ("nbs", "book", "tests"): continue # the library needs none of these
        to = folder/"source"/o.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(o, to)
    for o in DIGITS: shutil.copy(ROOT/o, folder/"source"/o)
    call("-m", "build", *isolation(), "--outdir", folder/"dist", folder/"source", cwd=folder)
    call("-m", "build", *isolation(), "--wheel", "--outdir", folder/"direct", folder/"source", cwd=folder)
    return {"sdist": next((folder/"dist").glob("*.tar.gz")), "wheel": next((folder/"dist").glob("*.whl")), "direct": next((folder/"direct").glob("*.whl"))}

def names(file: Path) -> set[str]:
    if file.suffix == ".whl": return set(zipfile.ZipFile(file).namelist())
    with tarfile.open(file) as f: return {o.name.partition("/")[2] for o in f.getmembers() if o.isfile()}

def test_both_hold_the_digits_and_the_licences(built):
    for kind, file in built.items():
        has = names(file)
        assert set(DIGITS) <= has, f"{kind} lacks {set(DIGITS) - has}"
        assert {"LICENSE", "LICENSE-DOCS"} <= {o.rpartition("/")[2] for o in has}, f"{kind} lacks a licence"

def test_the_wheel_is_the_same_from_the_sdist(built): assert names(built["wheel"]) == names(built["direct"])

def test_the_wheel_holds_the_library_and_nothing_else(built):
    has = names(built["wheel"])
    assert {o.partition("/")[0] for o in has if ".dist-info/" not in o} == {"course_lib"}
    want = {o.relative_to(ROOT).as_posix() for o in (ROOT/"course_lib").rglob("*.py")}
    assert {o for o in has if o.endswith(".py")} == want

def test_the_metadata_are_those_of_settings(built):
    with zipfile.ZipFile(built["wheel"]) as f: meta = message_from_bytes(f.read(next(o for o in f.namelist() if o.endswith(".dist-info/METADATA"))))
    needs = [Requirement(o) for o in meta.get_all("Requires-Dist")]
    assert {str(o) for o in needs if o.marker is None} == {str(o) for o in requirements("requirements")}
    assert set(meta.get_all("Provides-Extra")) == {"course", "book", "dev"}
    assert (meta["Version"], meta["License-Expression"] or meta["License"], meta["Requires-Python"]) == (CFG["version"], CFG["license"], f">={CFG['min_python']}")
    assert not CFG["repo_url"] or CFG["repo_url"] in str(meta.get_all("Project-URL")) + str(meta["Home-page"])

def test_it_works_elsewhere(built, tmp_path):
    "Installed into an empty folder and imported from another: the copy that answers is the installed one."
    site, work = tmp_path/"site", tmp_path/"somewhere else"
    work.mkdir()
    call("-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "--no-index", "--target", site, built["wheel"], cwd=work)
    code = f"import sys; sys.path.insert(0, {str(site)!r})\nimport course_lib\nprint(course_lib.__file__, course_lib.__version__)"
    if (ROOT/"course_lib"/"data.py").exists(): code += "\nfrom course_lib.data import load_images\nassert load_images().x_test.shape == (10_000, 784)"
    file, version = call("-c", code, cwd=work).rsplit(maxsplit=1)
    assert Path(file).is_relative_to(site) and version == CFG["version"]
