"""Who may import whom, how long things may get, and what an import pulls in."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg

PACKAGE = Path(geoseg.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# From the ground up. A module imports from its own floor or from below, and never in a circle.
FLOORS = (
    ("geoseg", "geoseg.config_parser", "geoseg.config", "geoseg.errors"),
    ("geoseg.grid", "geoseg.progress"),
    (
        "geoseg.raster.scene",
        "geoseg.raster.label_raster",
        "geoseg.raster.aoi",
        "geoseg.raster.bands",
        "geoseg.raster.vrt",
    ),
    (
        "geoseg.segment",
        "geoseg.polygons",
        "geoseg.tools",
        "geoseg.run.folder",
        "geoseg.run.provenance",
        "geoseg.run.executors",
        "geoseg.steps.survey",
        "geoseg.output.model",
    ),
    (
        "geoseg.run.run",
        "geoseg.run.label_run",
        "geoseg.output.paths",
        "geoseg.steps.write",
        "geoseg.steps.write_labels",
        "geoseg.steps.coverage",
        "geoseg.steps.align_codes",
        "geoseg.steps.segment",
        "geoseg.steps.label_raster",
        "geoseg.steps.vectorize",
    ),
    ("geoseg.cli.progress_bars", "geoseg.pipeline", "geoseg.preview.animation", "geoseg.preview.preview"),
    ("geoseg.cli.main", "geoseg.cli.options", "geoseg.cli.ineffective", "geoseg.__main__"),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
HOMES = {  # heavy packages, and the only modules that import them
    "torch": {"geoseg.segment.network", "geoseg.segment.backprop", "geoseg.run.run"},
    "dask": {"geoseg.run.executors"},
    "distributed": {"geoseg.run.executors"},
    "rich": {"geoseg.cli.progress_bars"},
    "click": {"geoseg.cli.main", "geoseg.cli.options", "geoseg.cli.ineffective"},
    "yaml": {"geoseg.config"},
}
MANY_PARAMETERS = {
    "geoseg.vectorize.polygonize.polygonize",  # a public function; its signature is the interface
    "geoseg.segment.backprop.learn",  # two sets of options, and seed, device and progress, which belong to none
}
LAZY = {("geoseg.run.run", "torch")}  # asks whether there is a GPU, and only then is torch worth its seconds


def floor_of(module):
    """Return the floor of a module, or of the folder that it lies in."""
    while module not in FLOOR:
        module = module.rpartition(".")[0]
        assert module != "geoseg", "a new module: give it a floor in FLOORS"
    return FLOOR[module]


def imports(module, *, top_level=False):
    """Yield the full names that a module imports, without those for the type checker alone."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    for node in tree.body if top_level else ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def functions(module):
    """Yield (full name, function) for every function and method, with those inside of others."""

    def walk(node, path):
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{path}.{child.name}" if named else path
            if named and not isinstance(child, ast.ClassDef):
                yield inner, child
            yield from walk(child, inner)

    yield from walk(ast.parse(MODULES[module].read_text(encoding="utf-8")), module)


def said_by(code):
    """Return what a new Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_its_own_floor_or_from_below(module):
    ours = [name for name in imports(module) if name in MODULES]

    too_high = [name for name in ours if floor_of(name) > floor_of(module)]

    assert not too_high


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {module: {name for name in imports(module) if name in MODULES and name != "geoseg"} for module in MODULES}

    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize(("package", "homes"), HOMES.items(), ids=HOMES)
def test_package_is_imported_at_home_only(package, homes):
    users = {module for module in MODULES if package in {name.partition(".")[0] for name in imports(module)}}

    assert users == homes


@pytest.mark.parametrize(("module", "package"), LAZY)
def test_import_is_made_only_when_it_is_needed(module, package):
    assert package not in {name.partition(".")[0] for name in imports(module, top_level=True)}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("geoseg.segment.")])
def test_computation_touches_no_files(module):
    used = {name.partition(".")[0] for name in imports(module)}

    assert not used & {"rasterio", "geopandas", "pyogrio", "pathlib", "os", "shutil", "tempfile", "sqlite3"}


@pytest.mark.parametrize("module", MODULES)
def test_module_has_at_most_400_lines_and_says_what_it_is(module):
    text = MODULES[module].read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)) or module == "geoseg.__main__"


@pytest.mark.parametrize("module", MODULES)
def test_function_has_at_most_six_parameters(module):
    def count(arguments):
        named = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return len([name for name in named if name not in ("self", "cls")])

    too_many = {name for name, function in functions(module) if count(function.args) > 6}

    assert too_many <= MANY_PARAMETERS


def test_every_exception_from_the_six_parameters_is_needed():
    names = {name for module in MODULES for name, _ in functions(module)}

    assert names >= MANY_PARAMETERS


@pytest.mark.parametrize("module", MODULES)
def test_public_function_says_what_it_does(module):
    silent = [
        name
        for name, function in functions(module)
        if not function.name.startswith("_")
        and "._" not in name.removeprefix(module)
        and not _is_inside_a_function(module, name)
        and not ast.get_docstring(function)
    ]

    assert not silent


def _is_inside_a_function(module, name):
    return any(name.startswith(f"{outer}.") for outer, _ in functions(module))


@pytest.mark.parametrize(
    "start",
    [
        "import geoseg",
        "import geoseg.cli.main",
        "import sys, geoseg.cli.main as c; sys.argv = ['geoseg', '--help']\ntry: c.main()\nexcept SystemExit: pass",
        "import sys, geoseg.cli.main as c; sys.argv = ['geoseg', 'tile', '-h']\ntry: c.main()\nexcept SystemExit: pass",
        "import sys, geoseg.cli.main as c; sys.argv = ['geoseg', 'outline', '-h']\ntry: c.main()\nexcept SystemExit: pass",
    ],
    ids=["import", "import-cli", "help", "tile-help", "outline-help"],
)
def test_start_imports_nothing_heavy(start):
    said = said_by(f"{start}\nimport sys; print('LOADED', *sorted({{name.partition('.')[0] for name in sys.modules}}))")

    loaded = set(said.partition("LOADED")[2].split())
    assert "geoseg" in loaded
    assert not loaded & {"torch", "dask", "distributed", "numba", "rasterio", "numpy", "scipy", "skimage", "sklearn"}
