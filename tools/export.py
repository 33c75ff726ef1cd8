"""Write `course_lib/` and `README.md` from the notebooks, and clean the notebooks. Running it twice changes nothing."""
import argparse, re, shutil
from pathlib import Path
from chapters import NBS, ROOT, notebooks

def readme() -> tuple[str, dict[str, bytes]]:
    "The text of README.md as the index notebook gives it, and its pictures by file name."
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(NBS/"index.ipynb", as_version=4)
    nb.metadata.language_info = {"name": "python"} # for the fences; cleaning has removed it
    alts = [m[1] for c in nb.cells if (m := re.search(r"^#\| fig-alt: (.+)", c.source, re.M))]
    text, resources = MarkdownExporter().from_notebook_node(nb, resources={"output_files_dir": "README_files"})
    text = re.sub(r"!\[png\]", lambda m: f"![{alts.pop(0)}]", text)
    text = re.sub(r"(\]\()(?!https?:|#|README_files)([\w/]+\.ipynb)", r"\1nbs/\2", text)
    text = re.sub(r"^#\| .*\n", "", text, flags=re.M)
    pictures = {Path(k).name: v for k, v in resources["outputs"].items()}
    return text.strip() + "\n", pictures

def write_readme() -> None:
    text, pictures = readme()
    (ROOT/"README.md").write_text(text, encoding="utf-8")
    folder = ROOT/"README_files"
    shutil.rmtree(folder, ignore_errors=True)
    if pictures: folder.mkdir()
    for k, v in pictures.items(): (folder/k).write_bytes(v)

def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    from nbdev.clean import nbdev_clean
    from nbdev.doclinks import nbdev_export
    for o in notebooks(): nbdev_clean(str(o))
    nbdev_export(path=str(NBS))
    write_readme()

if __name__ == "__main__": main()
