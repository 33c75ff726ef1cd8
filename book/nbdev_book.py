"""What Sphinx has to be taught about this course: nbdev's directives, its parameter comments, and names in backticks."""
import inspect, json, re
from docutils import nodes
from sphinx import addnodes
from sphinx.util.nodes import make_refnode

DIRECTIVE = re.compile(r"\s*#\s*\|\s*(?P<key>[\w-]+)\s*:?\s*(?P<value>.*)")

def anchor(title: str) -> str:
    "The anchor of a heading as JupyterLab and the hosting sites make it, so that one link serves everywhere."
    return title.strip().replace(" ", "-")

def directives(source: str) -> tuple[dict[str, str], str]:
    "The `#| key: value` lines at the top of a cell, and the cell without them."
    found, lines = {}, source.splitlines(keepends=True)
    while lines and (m := DIRECTIVE.fullmatch(lines[0].rstrip())):
        found[m["key"]] = re.sub(r'^(["\'])(.*)\1$', r"\2", m["value"]).replace('\\"', '"')
        lines.pop(0)
    return found, "".join(lines).lstrip("\n")

def tag_cells(nb: dict) -> None:
    "Turn nbdev's directives into the tags and options that MyST-NB knows; `export-MODULE` is ours, see `mark_exports`."
    module = None
    for cell in nb["cells"]:
        if cell["cell_type"] != "code": continue
        d, cell["source"] = directives("".join(cell["source"]))
        module = d.get("default_exp", module)
        tags, options = [], {}
        if {"hide", "default_exp"} & set(d) or d.get("include") == "false" or not cell["source"].strip(): tags.append("remove-cell")
        if "hide_input" in d or d.get("echo") == "false": tags.append("remove-input")
        if "hide_output" in d or d.get("output") == "false": tags.append("remove-output")
        if d.get("code-fold") == "true": tags.append("hide-input")
        if "code-summary" in d: options["code_prompt_show"] = options["code_prompt_hide"] = d["code-summary"]
        if "fig-alt" in d: options["image"] = {"alt": d["fig-alt"]}
        if to := next((d[o] or module for o in ("export", "exports") if o in d), None): tags.append(f"export-{to}")
        cell["metadata"] = {"tags": tags, "mystnb": options}

def contents(docnames: list[str]) -> str:
    "The table of contents, from the names of the notebooks: numbers are chapters, letters appendices."
    parts = {"Chapters": [o for o in docnames if o[0].isdigit()], "Appendices": [o for o in docnames if o[0].isupper()],
             "Reference": [o for o in docnames if o == "api/index"]}
    return "\n".join("```{toctree}\n:hidden:\n:caption: %s\n\n%s\n```\n" % (k, "\n".join(v)) for k, v in parts.items() if v)

def read_notebook(app, docname, content):
    if not str(app.env.doc2path(docname)).endswith(".ipynb"): return
    nb = json.loads(content[0])
    tag_cells(nb)
    if docname == app.config.root_doc:
        nb["cells"].append(dict(cell_type="markdown", id="contents", metadata={}, source=contents(sorted(app.env.found_docs))))
    content[0] = json.dumps(nb)

def mark_exports(app, doctree):
    "Say above a cell which module it becomes part of."
    for cell in list(doctree.findall(lambda o: isinstance(o, nodes.container) and "cell" in o.get("classes", []))):
        for module in (o.removeprefix("tag_export-") for o in cell["classes"] if o.startswith("tag_export-")):
            cell["classes"].append("exported")
            cell.insert(0, nodes.paragraph("", "exported to ", nodes.literal("", f"course_lib.{module}"), classes=["export-mark"]))

# The reference

def rst(text: str) -> str:
    "A docstring is written as Markdown is: keep its code, formulas and links, and let nothing else mean something to docutils."
    def part(m):
        if m["code"]: return f"\\ ``{m['code'].strip()}``\\ "   # escaped spaces do not show, and let a letter stand beside it
        if m["math"]: return f"\\ :math:`{m['math']}`\\ "
        if m["url"]: return f"\\ `{m['text'].replace('`', '')} <{m['url']}>`__\\ "
        return "\\" + m[0]
    return re.sub(r"`+(?P<code>[^`]+)`+|\$(?P<math>[^$\s][^$]*)\$|\[(?P<text>[^]]+)\]\((?P<url>http[^)]+)\)|[*|\\]|(?<=\w)_(?!\w)", part, text)

def fields(obj) -> list[str]:
    "The comments beside the parameters of `obj`, and beside what it returns, as a field list."
    from fastcore.docments import docments
    try: docs = docments(obj, full=True)
    except (TypeError, OSError, ValueError, SyntaxError): return []
    said = {k: " ".join((v.get("docment") or "").split()) for k, v in docs.items() if isinstance(v, dict)}
    said |= {rst(k): v for k, v in re.findall(r"^\s+(\*+\w+).*?,?\s+# (.+)", inspect.getsource(obj), re.M)}   # docments leaves these out
    lines = [f":param {k}: {rst(v)}" for k, v in said.items() if v and k not in ("return", "self")]
    return lines + ([f":returns: {rst(said['return'])}"] if said.get("return") else [])

def process_docstring(app, what, name, obj, options, lines):
    blocks = re.split(r"(\n\s*\n)", "\n".join(lines))   # paragraphs, each with what stands between it and the next
    done = "".join(o if o.lstrip().startswith(">>>") else rst(o) for o in blocks).splitlines()
    if what in ("function", "method", "class") and (more := fields(obj)): done += ["", *more, ""]
    lines[:] = done

def skip_member(app, what, name, obj, skip, options):
    "Leave out what a module only passes on, and the fields of a named tuple, which its parameters describe already."
    home = app.env.docname.replace("api/", "course_lib.")
    passed_on = (inspect.isclass(obj) or inspect.isroutine(obj)) and getattr(obj, "__module__", home) != home
    if what == "module" and passed_on or (inspect.getdoc(obj) or "").startswith("Alias for field number"): return True

# Names in backticks

def reference_names(env) -> dict[str, tuple[str, str]]:
    "Every exported name, short (`Linear`, `Linear.forward`) and full, with its page and anchor; ambiguous ones left out."
    names = {}
    for full, o in env.domaindata["py"]["objects"].items():
        short = re.sub(r"^course_lib\.\w+\.", "", full)
        for name in {full, short}: names.setdefault(name, []).append((o.docname, o.node_id))
    return {k: v[0] for k, v in names.items() if len(v) == 1}

def link_names(app, doctree, docname):
    names = reference_names(app.env)
    for node in list(doctree.findall(nodes.literal)):
        inside = node.parent
        while inside and not isinstance(inside, (nodes.reference, nodes.title, addnodes.desc_signature)): inside = inside.parent
        target = names.get(node.astext().removesuffix("()"))
        if inside or not target or "xref" in node["classes"]: continue   # Sphinx has resolved its own
        node.replace_self(make_refnode(app.builder, docname, *target, node.deepcopy()))

def rewrite_all_when_names_change(app, env):
    "A page Sphinx sees no reason to write again still needs new links, and a new title in its sidebar."
    now = sorted(reference_names(env).items()), sorted((k, v.astext()) for k, v in env.titles.items())
    before, env.course_names = getattr(env, "course_names", None), now
    return [] if before in (None, now) else list(env.found_docs)

def page_context(app, pagename, templatename, context, doctree):
    # MyST-NB's label for folded cells would be read out instead of the summary that the chapter gave them.
    if body := context.get("body"): context["body"] = body.replace(' aria-label="Toggle hidden content"', "")

def setup(app):
    app.connect("source-read", read_notebook)
    app.connect("doctree-read", mark_exports)
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("env-get-updated", rewrite_all_when_names_change)
    app.connect("doctree-resolved", link_names)
    app.connect("html-page-context", page_context)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
