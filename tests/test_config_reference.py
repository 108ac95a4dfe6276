"""The configuration reference: generated, complete, and current."""

import re
from pathlib import Path

from geoseg.cli.config_reference import config_reference
from geoseg.config import Config
from geoseg.config_parser import flat_values

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_configuration_reference_is_current():
    assert config_reference() == TEXT, "run: python -m geoseg.cli.config_reference > docs/configuration.md"


def test_every_option_has_a_row_with_its_default_and_a_meaning():
    rows = {
        path: (default, meaning)
        for path, default, _, meaning in re.findall(r"^\| `(.+?)` \| `(.+?)` \| (.+?) \| (.*) \|$", TEXT, re.M)
    }

    assert list(rows) == list(flat_values(Config().to_dict()))
    assert all(default and meaning for default, meaning in rows.values()), rows


def test_every_named_configuration_is_on_the_page_with_its_values():
    for path in (ROOT / "configs").glob("*.yaml"):
        body = path.read_text(encoding="utf-8").partition("\n")[2].strip()
        assert path.stem == "default" or f"### {path.stem}\n\n```yaml\n{body}\n```" in TEXT, path.name
