"""The code blocks of the documentation, and what the comments in its pages state about them.

`<!-- files: scene.tif=naip_2020.tif -->` writes a part of a file of docs/data, under the name that the page uses, into
the folder in which the blocks of the page run. `<!-- setup` … `-->` has shell commands that run there first. A block
after `<!-- not run: REASON -->` is not run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
CODE = ("bash", "python")
NOT_CODE = ("text", "yaml")  # figures, formulas, output, usage of commands, configurations
_FENCE = re.compile(r"(?:<!-- not run: ([^>]*?) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of its fence, and why it is not run ("" = it is run)."""

    language: str
    text: str
    line: int
    reason: str


def blocks_of(text):
    """Return all fenced blocks of a page."""
    return [
        Block(match[2], match[3], text.count("\n", 0, match.start(2)) + 1, match[1] or "")
        for match in _FENCE.finditer(text)
    ]


def files_of(text):
    """Return {name in the page: file of docs/data}."""
    return {
        name: source
        for listed in re.findall(r"<!-- files: (.*?) -->", text)
        for name, _, source in (pair.partition("=") for pair in listed.split())
    }


def setup_of(text):
    """Return the shell commands that run before the blocks of a page."""
    return "\n".join(re.findall(r"<!-- setup\n(.*?)-->", text, flags=re.DOTALL))
