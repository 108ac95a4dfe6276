"""The descriptions of packages agree with pyproject.toml, and what the distributions contain."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import geoseg

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # the same package, under another name


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text(encoding="utf-8"))


def requirement(text):
    name, extra, bound = re.fullmatch(r"([\w.-]+)(\[\w+\])?\s*(.*)", text).groups()
    return CONDA_NAMES.get(name.lower(), name.lower()), extra, bound


def test_recipe_requires_what_the_package_requires(recipe):
    expected = {}
    for text in PROJECT["project"]["dependencies"]:
        name, extra, bound = requirement(text)
        expected[name] = bound
        if extra:  # conda has no extras; dask[distributed] is two packages
            expected[extra.strip("[]")] = bound

    found = {name: bound for name, _, bound in map(requirement, recipe["requirements"]["run"])}
    python = found.pop("python")

    assert found == expected
    assert python.replace("${{ python_min }}", recipe["context"]["python_min"]) == PROJECT["project"]["requires-python"]


def test_recipe_describes_the_package(recipe):
    project = PROJECT["project"]

    assert recipe["context"]["version"] == geoseg.__version__
    assert recipe["about"]["summary"] == project["description"]
    assert recipe["about"]["license"] == project["license"]
    assert [f"{name} = {target}" for name, target in project["scripts"].items()] == recipe["build"]["python"][
        "entry_points"
    ]
    hosts = [text.replace(" ", "") for text in recipe["requirements"]["host"]]
    assert set(PROJECT["build-system"]["requires"]) <= set(hosts)


def test_constraints_satisfy_the_lower_bounds():
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    groups = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *groups["dev"], *groups["docs"], *groups["packaging"]]

    for text in wanted:
        one = Requirement(text)
        if one.name == PROJECT["project"]["name"]:  # its extra `docs`
            continue
        assert one.specifier.contains(pinned[one.name.lower()]), text
    assert len(pinned) == len([line for line in lines if "==" in line]), "a package is pinned twice"


def test_container_runs_as_a_user_and_writes_to_tmp_alone():
    lines = (ROOT / "packaging/Containerfile").read_text(encoding="utf-8")

    assert re.search(r"^USER (?!root)\w+$", lines, re.MULTILINE)
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "DASK_TEMPORARY_DIRECTORY", "TMPDIR"):
        assert re.search(rf"{name}=/tmp", lines)


def test_workflow_tries_three_systems_and_the_lowest_versions():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))

    systems = workflow["jobs"]["tests"]["strategy"]["matrix"]["os"]
    assert {name.partition("-")[0] for name in systems} == {"ubuntu", "windows", "macos"}
    assert any(".ci/lowest" in step.get("run", "") for step in workflow["jobs"]["lowest"]["steps"])
