"""The public names of geoseg: listed, documented in the numpydoc format, and with an example."""

import ast
import dataclasses
import doctest
import inspect
import re
import textwrap

import pytest

import geoseg

PUBLIC = {name: getattr(geoseg, name) for name in geoseg.__all__}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
ERRORS = {name: value for name, value in CLASSES.items() if issubclass(value, BaseException)}
DOCUMENTED = FUNCTIONS | {name: value for name, value in CLASSES.items() if name not in ERRORS}
SECTIONS = (
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "See Also",
    "Notes",
    "References",
    "Examples",
)


def sections(docstring):
    """Return the text of each section of a numpydoc docstring; the text before the first has the key ""."""
    parts = re.split(r"^(\w[\w ]*)\n-+$\n?", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section):
    """Return {name: (type, description)} of a section of numpydoc; several names may share one entry."""
    found = {}
    for entry in re.split(r"^(?=\S)", section.strip(), flags=re.MULTILINE):
        if not entry:
            continue
        head, _, description = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        found |= {
            name.strip().lstrip("*"): (kind.strip(), textwrap.dedent(description).strip()) for name in names.split(",")
        }
    return found


def parameters_of(value):
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value) if field.init and not field.name.startswith("_")]
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def raised_by(value):
    """Return the names of the exceptions in the raise statements of a function itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    calls = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None)
    names = {getattr(call.func if isinstance(call, ast.Call) else call, "id", "") for call in calls}
    return {name for name in names if name[:1].isupper()}  # not the functions that return an error


def test_public_names_exist_and_are_in_dir():
    assert set(geoseg.__all__) <= set(dir(geoseg))
    assert len(set(geoseg.__all__)) == len(geoseg.__all__)


def test_every_error_is_public():
    from geoseg import errors

    assert {name for name, value in vars(errors).items() if inspect.isclass(value)} <= set(ERRORS)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring_with_a_summary_of_one_line(name):
    lines = inspect.cleandoc(PUBLIC[name].__doc__).splitlines()

    assert lines[0].endswith(".")
    assert len(lines) == 1 or lines[1] == ""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstring_has_only_sections_of_numpydoc_in_their_order(name):
    found = [title for title in sections(DOCUMENTED[name].__doc__) if title]

    assert found == [title for title in SECTIONS if title in found]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_parameter_is_documented_with_its_type(name):
    documented = entries(sections(DOCUMENTED[name].__doc__).get("Parameters", ""))

    assert set(documented) == set(parameters_of(DOCUMENTED[name]))
    assert not {parameter for parameter, (kind, text) in documented.items() if not kind and not text}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_returns_and_raises_of_a_function_are_documented(name):
    function, found = FUNCTIONS[name], sections(FUNCTIONS[name].__doc__)

    assert "Returns" in found or inspect.signature(function).return_annotation in (None, "None")
    assert raised_by(function) <= set(entries(found.get("Raises", "")))
    assert all(description for _, description in entries(found.get("Raises", "")).values()) or "Raises" not in found


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_name_has_a_doctest(name):
    assert doctest.DocTestParser().get_examples(sections(DOCUMENTED[name].__doc__).get("Examples", ""))
