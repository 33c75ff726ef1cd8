"""How Sphinx renders the book. `tools/book.py` runs the chapters and calls Sphinx: nothing is executed here."""
import sys
from configparser import ConfigParser
from pathlib import Path
import mathjax

here = Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent)]   # nbdev_book, and the library for the reference

settings = ConfigParser(delimiters=["="], interpolation=None)
settings.read(here.parent/"settings.ini", encoding="utf-8")
cfg = settings["DEFAULT"]

project, author, version = cfg["title"], cfg["author"], cfg["version"]
copyright = f"{author}. Text CC BY 4.0, code {cfg['license']}"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_copybutton", "nbdev_book"]
source_suffix = {".rst": "restructuredtext", ".ipynb": "myst-nb"}
default_role = "literal"   # `name` in a docstring is code, as it is in a notebook
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("*", "text/latex", 15)]   # a formula is set by MathJax, not shown as a picture of itself
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "amsmath", "alert"]
myst_heading_anchors = 6
myst_heading_slug_func = "nbdev_book.anchor"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False   # torch's docstrings are torch's, and not written for this book
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
python_maximum_signature_line_length = 88
add_module_names = False

# SVG output needs no font files: formulas show from file:// in every browser, and in print.
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}

html_theme = "sphinx_book_theme"
html_title = project
html_favicon = "static/favicon.svg"
html_static_path = ["static", str(Path(mathjax.__file__).parent/"static/mathjax/es5/tex-svg.js")]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_show_sphinx = False
html_domain_indices = html_use_index = False   # the reference lists the modules, the search finds the names
html_context = {"default_mode": "auto"}
pygments_style = "a11y-high-contrast-light"
html_theme_options = {
    "navbar_persistent": [],             # one search field, not two
    "toc_title": "On this page",
    "footer_content_items": "copyright.html",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if repo := cfg["repo_url"]:
    html_theme_options |= {
        "repository_url": repo, "repository_branch": "main", "path_to_docs": "nbs",
        "use_repository_button": True, "use_edit_page_button": True, "use_issues_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
