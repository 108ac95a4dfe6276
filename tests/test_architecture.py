"""The layout of the package: which folder imports which, how long things are, and what an import loads."""

import ast
import functools
import graphlib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import geoseg

from .conftest import output_of

PACKAGE = Path(geoseg.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Folders, and modules directly in geoseg/, from the bottom to the top. A module imports from its own folder and from
# lower floors.
FLOORS = (
    ("errors", "progress", "grid", "config", "config_parser", "geoseg"),
    ("raster",),
    ("segment",),
    ("vectorize",),
    ("output",),
    ("evaluate",),
    ("run",),
    ("report",),
    ("classify",),
    ("steps", "layers"),
    ("pipeline", "preview", "synthetic"),
    ("arrays", "parts"),
    ("cli",),
    ("__main__",),
)
FLOOR = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
LIBRARY_HOMES = {  # the only modules that import these libraries
    "torch": tuple(
        f"geoseg.segment.{name}"
        for name in (
            *("network", "backprop", "batch_statistics", "descent", "strip_descent", "whole_descent", "passes"),
            *(
                "strips",
                "tile_codes",
                "grouped_descent",
                "tile_batches",
                "fused_layers",
                "torch_threads",
                "inference",
                "buffers",
            ),
        )
    ),
    "dask": ("geoseg.run.dask_*",),
    "distributed": ("geoseg.run.dask_*",),
    "rich": ("geoseg.cli.*",),
    "click": ("geoseg.cli.*",),
    "msgspec": ("geoseg.config_parser",),
    "jinja2": ("geoseg.report.page",),
    "matplotlib": ("geoseg.report.charts", "geoseg.report.tuning_chart"),
    "yaml": ("geoseg.config", "geoseg.config_parser", "geoseg.run.cluster_file", "geoseg.report.provenance"),
}
FILE_LIBRARIES = {
    *("fiona", "fsspec", "geopandas", "glob", "io", "mmap", "os", "osgeo", "pathlib", "pyogrio", "rasterio", "shutil"),
    *("sqlite3", "tempfile", "yaml", "zipfile"),
}
RETURNS_FRAMES = {"geoseg.vectorize.polygonize"}  # geopandas for the GeoDataFrame that it returns
FILE_FUNCTIONS = {"open", "fromfile", "loadtxt", "memmap", "savez", "tofile"}
COMPUTATION = ("geoseg.segment*", "geoseg.vectorize*", "geoseg.evaluate*", "geoseg.classify.*")
READS_OR_WRITES = {  # modules of evaluate/ and classify/ that do touch files
    "geoseg.classify.classify",
    "geoseg.classify.dissolve",
    "geoseg.classify.delimited",
    "geoseg.classify.document",
    "geoseg.classify.forest_file",
    "geoseg.classify.read_samples",
    "geoseg.classify.sample_points",
    "geoseg.classify.name",
    "geoseg.classify.name_table",
    "geoseg.classify.result",
    "geoseg.classify.write_named",
    "geoseg.evaluate.class_raster",
    "geoseg.evaluate.evaluate",
    "geoseg.evaluate.reference",
    "geoseg.evaluate.report",
    "geoseg.evaluate.unsupervised",
}
MAX_FILES, MAX_MODULE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 9, 400, 45, 6
LONG_MODULES: dict[str, str] = {}  # name → reason
LONG_FUNCTIONS: dict[str, str] = {}
MANY_PARAMETERS = {
    "geoseg.classify.classify.classify_regions": "a public function: its keywords are the interface",
    "geoseg.arrays.segment_array": "a public function: its keywords are the interface",
    "geoseg.pipeline.segment_scene": "a public function: its keywords are the interface",
    "geoseg.vectorize.polygonize.polygonize": "a public function: its keywords are the interface",
}


def folder_of(module):
    """Return the folder directly in geoseg/ that a module lies in, or its own name if it lies in geoseg/ itself."""
    return [*module.split("."), module][1]


@functools.cache
def imports(module):
    """Return the full names that a module imports, without those for the type checker alone."""
    return tuple(_imports(module))


def _imports(module):
    tree = parsed(module)
    for_type_checker = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in for_type_checker:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def libraries(module):
    return {name.partition(".")[0] for name in imports(module)}


@functools.cache
def parsed(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@functools.cache
def functions(module):
    """Return (full name, function) for every function and method, with those inside of others."""

    def walk(node, path):
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{path}.{child.name}" if named else path
            if named and not isinstance(child, ast.ClassDef):
                yield inner, child
            yield from walk(child, inner)

    return tuple(walk(parsed(module), module))


def all_functions():
    return {name: function for module in MODULES for name, function in functions(module)}


def count_parameters(function):
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def count_lines(function):
    """Return the number of lines of a function without its decorators and its docstring."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    return function.end_lineno - function.lineno + 1 - (span(docstring) if docstring else 0)


def span(node):
    return node.end_lineno - node.lineno + 1


def count_module_lines(module):
    return len(MODULES[module].read_text(encoding="utf-8").splitlines())


# --- who imports whom ---------------------------------------------------------------------------------------------


def test_every_folder_has_a_floor_and_every_floor_is_in_use():
    assert {folder_of(module) for module in MODULES} == set(FLOOR)


def test_modules_import_only_from_their_own_folder_and_from_lower_floors():
    assert not {module: found for module in MODULES if (found := imports_from_above(module))}


def imports_from_above(module):
    own = folder_of(module)
    targets = {folder_of(name) for name in imports(module) if name in MODULES} - {own}

    limit = FLOOR[own] + (FLOOR[own] == 0)  # the modules of the lowest floor may import each other
    return {target for target in targets if FLOOR[target] >= limit}


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {module: {name for name in imports(module) if name in MODULES and name != "geoseg"} for module in MODULES}

    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize(("library", "homes"), LIBRARY_HOMES.items(), ids=LIBRARY_HOMES)
def test_library_is_imported_in_its_own_modules_only(library, homes):
    users = {module for module in MODULES if library in libraries(module)}

    assert users
    assert not {module for module in users if not any(fnmatch(module, home) for home in homes)}
    assert all(any(fnmatch(module, home) for module in users) for home in homes if "*" in home)


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in MODULES
        if any(fnmatch(name, pattern) for pattern in COMPUTATION) and name not in READS_OR_WRITES
    ],
)
def test_computation_touches_no_files(module):
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call)
    }

    allowed = {"geopandas"} if module in RETURNS_FRAMES else set()
    assert not libraries(module) & (FILE_LIBRARIES - allowed)
    assert not called & FILE_FUNCTIONS


@pytest.mark.parametrize("module", sorted(READS_OR_WRITES))
def test_module_that_is_exempt_from_computation_touches_files(module):
    assert libraries(module) & FILE_LIBRARIES


# --- how long things are ------------------------------------------------------------------------------------------


def test_few_modules_lie_directly_in_the_package():
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_FILES


def test_modules_are_short_and_have_a_docstring():
    assert {module for module in MODULES if count_module_lines(module) > MAX_MODULE_LINES} <= LONG_MODULES.keys()
    assert all(ast.get_docstring(parsed(module)) for module in MODULES)


def test_functions_are_short():
    lengths = {name: count_lines(function) for name, function in all_functions().items()}

    assert {name for name, length in lengths.items() if length > MAX_FUNCTION_LINES} <= LONG_FUNCTIONS.keys()


def test_functions_have_few_parameters():
    counts = {name: count_parameters(function) for name, function in all_functions().items()}

    assert {name for name, count in counts.items() if count > MAX_PARAMETERS} <= MANY_PARAMETERS.keys()


def test_every_exception_exceeds_the_limit_that_it_is_exempt_from():
    found = all_functions()

    assert all(count_module_lines(module) > MAX_MODULE_LINES for module in LONG_MODULES)
    assert all(count_lines(found[name]) > MAX_FUNCTION_LINES for name in LONG_FUNCTIONS)
    assert all(count_parameters(found[name]) > MAX_PARAMETERS for name in MANY_PARAMETERS)


def test_public_functions_have_a_docstring():
    undocumented = [
        name
        for module in MODULES
        for name, function in functions(module)
        if not function.name.startswith("_")
        and "._" not in name.removeprefix(module)
        and not ast.get_docstring(function)
        and not _is_inside_a_function(module, name)
    ]

    assert not undocumented


def _is_inside_a_function(module, name):
    return any(name.startswith(f"{outer}.") for outer, _ in functions(module))


# --- what an import loads -----------------------------------------------------------------------------------------


def test_run_without_a_report_imports_nothing_that_only_reports_need():
    loaded = output_of("import geoseg.pipeline, sys; print('LOADED', *sys.modules)").partition("LOADED")[2].split()

    assert "geoseg.steps.write" in loaded
    assert not {"matplotlib", "jinja2", "geoseg.report.page"} & set(loaded)


def run_command(*arguments):
    return (
        f"import sys, geoseg.cli.main as c; sys.argv = {['geoseg', *arguments]}\ntry: c.main()\nexcept SystemExit: pass"
    )


@pytest.mark.parametrize(
    "start",
    [
        "import geoseg",
        "import geoseg; dir(geoseg)",
        "import geoseg.cli.main",
        run_command("--help"),
        run_command("tile", "-h"),
        run_command("outline", "-h"),
    ],
    ids=["import", "dir", "import-cli", "help", "tile-help", "outline-help"],
)
def test_start_imports_nothing_heavy(start):
    code = f"{start}\nimport sys; print('LOADED', *sorted({{name.partition('.')[0] for name in sys.modules}}))"

    loaded = set(output_of(code).partition("LOADED")[2].split())

    assert "geoseg" in loaded
    assert not loaded & {
        *("torch", "dask", "distributed", "numba", "rasterio", "numpy", "scipy", "skimage", "sklearn", "pandas"),
        *("geopandas", "pyarrow", "shapely", "jinja2", "matplotlib"),
    }
