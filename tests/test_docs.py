"""README and docs refer to files, headings, options and configuration keys that exist."""

import re
from pathlib import Path

import pytest

from geoseg.cli.main import commands
from geoseg.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
SECTIONS = [name for name, value in Config().to_dict().items() if isinstance(value, dict)]


def code_of(page):
    """Return the fenced lines and inline code of a page, without comments."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in fenced for line in block.splitlines()] + inline
    return [line.replace("\\|", "|").split("  #")[0].strip() for line in lines]


def headings(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def options_of(command):
    return {name for option in commands.commands[command].params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)

    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_in_the_documentation_exists(page):
    all_options = {"--help"}.union(*(options_of(name) for name in commands.commands))

    for line in code_of(page):
        for part in re.split(r"&&|\|(?! )", line):
            words = part.split()
            given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            if words[:1] == ["geoseg"] and len(words) > 1 and words[1].isalpha():
                assert words[1] in commands.commands, line
                assert given <= options_of(words[1]) | {"--help"}, line
            elif line.startswith("--"):
                assert given <= all_options, line


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_configuration_key_in_the_documentation_exists(page):
    values = Config().to_dict()

    for line in code_of(page):
        found = re.fullmatch(rf"({'|'.join(SECTIONS)})\.(\w+)(: .*)?", line)
        if found:
            assert found[2] in values[found[1]], line
