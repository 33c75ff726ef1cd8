"""Package metadata: everything is read from settings.ini."""
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(here/"settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

def lines(key: str) -> list[str]: return [o for o in cfg[key].splitlines() if o.strip()]

extras = {o: lines(f"{o}_requirements") for o in ("course", "book", "dev")}
extras["dev"] = extras["course"] + extras["book"] + extras["dev"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    url=cfg["repo_url"] or None,
    keywords=cfg["keywords"],
    license=cfg["license"],
    license_files=["LICENSE", "LICENSE-DOCS"],
    python_requires=f">={cfg['min_python']}",
    classifiers=["Intended Audience :: Education", "Topic :: Scientific/Engineering :: Artificial Intelligence"]
        + [f"Programming Language :: Python :: {o}" for o in cfg["python_versions"].split()],
    packages=find_packages(include=["course_lib", "course_lib.*"]),
    package_data={"course_lib": ["_mnist/*", "_models/*"]},
    install_requires=lines("requirements"),
    extras_require=extras,
    zip_safe=False,
)
