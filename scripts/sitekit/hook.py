"""mkdocs: pages from outside docs/, and links that work both in the checkout and on the site.

In Markdown files a link is relative to its file in the checkout, as a forge shows it. On the site,
README.md and the other pages of `OUTSIDE` have places of their own, so links to and from them are
rewritten. A link to a file that is not a page (a script, a folder) becomes its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples/index.md",
    **{
        f"examples/{path.parent.name}/README.md": f"examples/{path.parent.name}.md"
        for path in ROOT.glob("examples/*/README.md")
    },
}
"""Pages outside docs/, by their place in the checkout, with their place on the site."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_SOURCES = {place: source for source, place in OUTSIDE.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, place in OUTSIDE.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page from places in the checkout to places on the site."""
    place = page.file.src_uri
    source = _SOURCES.get(place, f"docs/{place}")
    parts = _FENCE.split(markdown)  # code blocks are the odd ones
    return "".join(
        part if number % 2 else _LINK.sub(lambda found: _rewritten(found, source, place), part)
        for number, part in enumerate(parts)
    )


def _rewritten(found: re.Match[str], source: str, place: str) -> str:
    image, text, link = found.groups()
    target, _, anchor = link.partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return found[0]
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if not (ROOT / wanted).exists():
        raise FileNotFoundError(f"{source}: no file {wanted} for the link to {link}")
    on_site = OUTSIDE.get(wanted) or (wanted[5:] if wanted.startswith("docs/") else None)
    if on_site is None or (ROOT / wanted).is_dir():
        return text
    relative = posixpath.relpath(on_site, posixpath.dirname(place) or ".")
    return f"{image}[{text}]({relative}{'#' + anchor if anchor else ''})"
