"""The vocabulary of the package: no term of its earlier private language is left in code or documentation."""

import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIPPED = {
    "CHANGELOG.md",  # lists the old names beside the new ones
    "experiments.md",  # a log of what was tried, under the names of its time
}
FILES = [
    ROOT / "README.md",
    *sorted(
        path
        for folder in ("geoseg", "docs", "configs", "examples", "benchmarks", "qgis_plugin")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".yaml", ".sh"} and path.name not in SKIPPED
    ),
]

# Regular expressions for identifiers, as words separated by spaces, and for prose → what to use instead.
TERMS = {
    r"grounds?(?!\s+(truth|sampl\w+|resolution|distance))": "superpixel table, valid, land",
    r"looks": "features, moments; searches, reads",
    r"harmon(y|ies|i[sz]\w*)": "class model, classify",
    r"founders?": "cluster",
    r"minds?": "cluster with a multimodal code histogram",
    r"fine class(es)?": "cluster",
    r"interleav\w*": "adjacency weight",
    r"rims?": "halo, border",
    r"priors?": "training",
    r"tell(s|ing)?|told": "return, report, describe",
    r"say(s|ing)?|said": "state, report",
    r"no data": "nodata, not valid",
    r"look(s|ing)? whether": "check that",
    r"goes with|has a say|to be had|whisper\w*|shout\w*|luck\w*|kin|woo(ing|s)?|alike|somebody|misspelt|a map lies": (
        "plain technical English"
    ),
}
# Ordinary words elsewhere; in these files they were terms of their own.
IDENTIFIERS = {
    r"hold|lead": "distillation weight, warmup fraction",
    r"words?": "votes",
}
IDENTIFIER_FILES = re.compile(r"geoseg/(segment|steps|output/model|config\.py)|configs/")
# (file name, word): why the word is needed there.
ALLOWED = {
    ("config.py", word): "names an option of earlier versions, so that the error can give its new name"
    for word in ("prior", "harmonize", "interleaving", "hold", "lead", "fine classes", "looks")
} | {
    **{
        (f"{name}.py", "prior"): "names a former option"
        for name in ("options", "ineffective", "preview", "plan", "tile")
    },
    **{(name, "ground"): "ground control points" for name in ("dataset.py", "running.md")},
    ("label_raster.py", "no data"): "the words of the type Nodata",
    ("dataset.py", "interleaving"): "an attribute of a dataset of rasterio",
    ("scene.py", "interleave"): "a creation option of GDAL",
}


def words_of(identifier):
    """Return the words of an identifier, in lower case: minPixels_held → min, pixels, held."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def prose_and_identifiers(path):
    """Return (line, text) of comments, strings and other prose, and (line, text) of identifiers as words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(enumerate(text.splitlines(), start=1)), []
    prose, identifiers = [], []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            identifiers.append((token.start[0], " ".join(words_of(token.string))))
        elif token.type in (tokenize.COMMENT, tokenize.STRING):
            lines = token.string.splitlines()
            prose += list(enumerate(lines, start=token.start[0]))
            prose += [
                (number, " ".join(words_of(name))) for number, line in prose[-len(lines) :] for name in _names(line)
            ]
    return prose, identifiers


def _names(line):
    return re.findall(r"\w*_\w+", line)


ANY_TERM = re.compile(rf"\b(?:{'|'.join([*TERMS, *IDENTIFIERS])})\b", re.IGNORECASE)


def _has_term(line):
    return ANY_TERM.search(line[1]) is not None


def found_in(path):
    """Return "line: word; use …" for every term of the old vocabulary in a file."""
    prose, identifiers = (list(filter(_has_term, lines)) for lines in prose_and_identifiers(path))
    everywhere = [(term, advice, prose + identifiers) for term, advice in TERMS.items()]
    name = path.relative_to(ROOT).as_posix()
    in_names = [(term, advice, identifiers) for term, advice in IDENTIFIERS.items() if IDENTIFIER_FILES.match(name)]
    return [
        f"{name}:{number}: {match[0]}; use {advice}"
        for term, advice, places in everywhere + in_names
        for number, text in places
        for match in re.finditer(rf"\b(?:{term})\b", text, re.IGNORECASE)
        if (path.name, match[0].lower()) not in ALLOWED
    ]


def test_words_of_identifiers_are_found():
    assert words_of("_fineClasses_of_HTTPServer") == ["fine", "classes", "of", "http", "server"]


def test_terms_are_found_in_identifiers_comments_and_prose(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "code.py").write_text('ground_of = 1  # look whether\n"""Say it."""\nbackground = "grounded"\n')
    (tmp_path / "page.md").write_text("A class of two minds.\n")

    found = [line.partition(";")[0] for name in ("code.py", "page.md") for line in found_in(tmp_path / name)]

    assert sorted(found) == [
        "code.py:1: ground",
        "code.py:1: look whether",
        "code.py:2: Say",
        "page.md:1: minds",
    ]


def test_files_use_the_vocabulary():
    assert not [line for path in FILES for line in found_in(path)]
