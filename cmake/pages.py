#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What Doxygen and its site need: pages.py <repository> <docs folder> <MathJax's folder>

The README, CONTRIBUTING.md and the page of each folder are written for a repository's browser, whose markdown has
more than Doxygen's: links between pages and to headings, links to files, pictures, footnotes, formulas.
They are put into words that Doxygen knows; the files that they name, and of MathJax the small part
that draws formulas, are copied to where the site will be."""
import pathlib
import re
import shutil
import sys

ROOT, DOCS, MATHJAX = map(pathlib.Path, sys.argv[1:])
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("*/README.md"))]
MATHJAX_PARTS = ("MathJax.js", "extensions", "jax/element", "jax/input/TeX", "jax/output/SVG/jax.js",
                 "jax/output/SVG/config.js", "jax/output/SVG/autoload", "jax/output/SVG/fonts/TeX")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$`(?P<formula>[^`]*)`\$"
                    r"|(?P<code>`[^`]*`)"
                    r"|(?P<picture>!?)\[(?P<text>[^\]^][^\]]*)\]\((?P<to>[^)\s]+)\)"
                    r"|\[\^(?P<note>\w+)\](?!:)")
NOTES = re.compile(r"^\[\^(\w+)\]: (.*)$", re.MULTILINE)


def copy(file, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if file.is_dir() else shutil.copy)(file, to)


def page_name(path):
    if path.stem != "README":
        return path.stem.lower()
    return "index" if path.parent == ROOT else path.parent.name


def label(path, heading):
    """Of a heading, whose anchor in the repository's browser is its words with hyphens between."""
    words = re.sub(r"[^\w\- ]", "", heading.lower()).strip()
    return f"{page_name(path)}_{words.replace(' ', '-')}"


def prose(path, text, notes):
    def heading(match):
        marks, words = match.groups()
        name = page_name(path) if marks == "#" else label(path, words)
        return f"{marks} {words}" if name == "index" else f"{marks} {words} {{#{name}}}"

    def inline(match):
        if match["formula"]:
            return rf"\f${match['formula']}\f$"
        if match["code"]:  # a ' would end it
            return f"`{match['code']}`" if "'" in match["code"] else match["code"]
        if match["note"]:
            number = notes.index(match["note"]) + 1
            return f'<sup><a href="#{page_name(path)}_note_{match["note"]}">{number}</a></sup>'
        if re.match(r"\w+:", match["to"]):
            return match[0]
        file, _, anchor = match["to"].partition("#")
        target = (path.parent / file).resolve() if file else path
        if target in PAGES:
            name = label(target, anchor.replace("-", " ")) if anchor else page_name(target)
            return f'[{match["text"]}](@ref {name})' if name != "index" else \
                f'[{match["text"]}](index.html)'
        relative = target.relative_to(ROOT).as_posix()
        if target.suffix == ".hpp" and target.parent == ROOT / "include/rownorm":
            return f'[{match["text"]}](@ref {target.name})'  # its page
        copy(target, DOCS / "html" / relative)
        if match["picture"]:
            return f'<a href="{relative}"><img src="{relative}" alt="{match["text"]}"/></a>'
        return f'[{match["text"]}]({relative})'

    return INLINE.sub(inline, re.sub(r"^(#+) (.*)$", heading, text, flags=re.MULTILINE))


def page(path):
    text = path.read_text()
    notes = [name for name, _ in NOTES.findall(text)]
    if notes:
        text = NOTES.sub(lambda m: f'{notes.index(m[1]) + 1}. <a id="{page_name(path)}_note_{m[1]}"></a>{m[2]}',
                         text)
    parts = FENCE.split(text)
    parts[::2] = [prose(path, part, notes) for part in parts[::2]]
    return "".join(parts)


(DOCS / "pages").mkdir(parents=True, exist_ok=True)
for path in PAGES:
    (DOCS / "pages" / f"{page_name(path)}.md").write_text(page(path))
for part in MATHJAX_PARTS:
    copy(MATHJAX / part, DOCS / "html/mathjax" / part)
