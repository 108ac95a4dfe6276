"""Build the documentation site.

    python docs/build_site.py [--pages]

Copies docs/ to build/pages, with the files elsewhere in the project that its pages link to, and builds build/site from
it with Zensical, where a warning is an error. With --pages, nothing is built.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS, PAGES, SITE = ROOT / "docs", ROOT / "build" / "pages", ROOT / "build" / "site"
OUTSIDE = ("SECURITY.md", "CHANGELOG.md")  # pages that lie at the top of the project
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def main() -> int:
    """Copy the pages and build the site; return the exit code of Zensical."""
    copy_pages()
    if "--pages" in sys.argv[1:]:
        return 0
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", "mkdocs.yml"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def copy_pages() -> None:
    """Write all pages and pictures to build/pages, with links that stay inside that folder."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(DOCS, PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in (*DOCS.rglob("*.md"), *(ROOT / name for name in OUTSIDE)):
        page = PAGES / (path.relative_to(DOCS) if DOCS in path.parents else path.name)
        page.write_text(with_local_links(path), encoding="utf-8")


def with_local_links(path: Path) -> str:
    """Return the text of a page; what it links to outside docs/ is copied, and the links lead to the copies."""
    home = (path.parent if DOCS in path.parents else DOCS).relative_to(DOCS)

    def local(link: re.Match[str]) -> str:
        target = (path.parent / link[1]).resolve()
        if not target.exists():
            return link[1]  # Zensical reports it
        place = place_of(target)
        return Path(*[".."] * len(home.parts), place).as_posix()

    return _LINK.sub(local, path.read_text(encoding="utf-8"))


def place_of(target: Path) -> Path:
    """Return where a file of the project is in build/pages, and copy it there if it is not one of docs/."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS)
    if target.name in OUTSIDE:
        return Path(target.name)
    place = Path("files") / f"{target.relative_to(ROOT).as_posix()}.txt"  # shown by a browser, not downloaded
    (PAGES / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(target, PAGES / place)
    return place


if __name__ == "__main__":
    raise SystemExit(main())
