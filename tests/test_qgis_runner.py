"""What of the QGIS plugin needs no QGIS: command lines, progress, processes, finding and installing geoseg, the zip."""

import ast
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from geoseg_qgis.runner.commands import COMMANDS_FILE, command_line, load_reference
from geoseg_qgis.runner.environment import (
    NotFoundError,
    environment_for,
    executable_in,
    find_geoseg,
    own_environment,
    version_of,
)
from geoseg_qgis.runner.installation import (
    InstallError,
    Request,
    Tools,
    default_source,
    find_tools,
    install,
    steps_of,
)
from geoseg_qgis.runner.messages import error_text, failed_text, legend, resume_text
from geoseg_qgis.runner.process import Control, Ended, run_process
from geoseg_qgis.runner.progress import OF_SCENE, STAGES, STAGES_OF, Progress, duration
from geoseg_qgis.runner.table import ALGORITHMS, HIDDEN, parameters_of

import geoseg
from geoseg.cli.progress_bars import STAGE_TITLES
from geoseg.cli.reference_json import reference_json
from geoseg.synthetic.scene import SceneOptions, write_scene

from .programs import children_of, geoseg_program, is_running, is_running_after, make_program

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "qgis_plugin" / "geoseg_qgis"
REFERENCE = load_reference()
RUNNING = [algorithm for algorithm in ALGORITHMS if algorithm.command in REFERENCE.commands]


def event(name, **fields):
    return json.dumps({"event": name, **fields})


class Clock:
    """Clock that the test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def program(tmp_path):
    """Return a program that runs the geoseg of this checkout."""
    return geoseg_program(tmp_path / "program")


# --- the description of the commands --------------------------------------------------------------------------------


def test_description_of_the_commands_is_current():
    text = COMMANDS_FILE.read_text(encoding="utf-8")

    assert text == reference_json(), "run: make reference"


def test_plugin_has_the_version_of_geoseg():
    assert f"\nversion={geoseg.__version__}\n" in (PLUGIN / "metadata.txt").read_text(encoding="utf-8")
    assert REFERENCE.version == geoseg.__version__


@pytest.mark.parametrize("algorithm", RUNNING, ids=lambda algorithm: algorithm.name)
def test_every_option_is_shown_once_or_is_hidden(algorithm):
    command = REFERENCE.commands[algorithm.command]
    names = [shown.name for shown in parameters_of(algorithm, command)]

    assert len(names) == len(set(names))
    assert {option.name for option in command.options} - set(names) <= HIDDEN
    assert {shown.name for shown in algorithm.shown} & {option.name for option in command.options} <= set(names)


@pytest.mark.parametrize("algorithm", RUNNING, ids=lambda algorithm: algorithm.name)
def test_labels_of_an_algorithm_differ(algorithm):
    labels = [shown.label for shown in parameters_of(algorithm, REFERENCE.commands[algorithm.command])]

    assert len(labels) == len(set(labels))


# --- command lines --------------------------------------------------------------------------------------------------


def test_values_follow_their_option_so_that_a_dash_is_not_taken_for_an_option():
    arguments = command_line(REFERENCE.commands["outline"], {"labels": "a.tif", "out": "-b.gpkg", "nodata": "-1"})

    assert arguments == ["--stop-at-eof", "outline", "--out=-b.gpkg", "--nodata=-1", "--progress=json", "a.tif"]


def test_values_that_are_not_set_are_left_out():
    values = {"scene": "a.tif", "out": "b.gpkg", "bands": [], "rgb": "", "resume": False, "seed": None, "simplify": 0.0}

    arguments = command_line(REFERENCE.commands["tile"], values)

    assert arguments == ["--stop-at-eof", "tile", "--out=b.gpkg", "--simplify=0", "--progress=json", "a.tif"]


def test_further_options_are_split_as_in_a_shell():
    arguments = command_line(REFERENCE.commands["evaluate"], {"classes": "a.tif"}, '--field "my field" -v')

    assert arguments == ["--stop-at-eof", "evaluate", "--field", "my field", "-v", "a.tif"]


def test_further_options_with_an_open_quotation_mark_are_refused():
    with pytest.raises(ValueError, match="Close every quotation mark"):
        command_line(REFERENCE.commands["tile"], {}, '--field "my')


# --- progress -------------------------------------------------------------------------------------------------------


def test_stages_are_those_of_geoseg():
    assert {name: title for name, (title, _) in STAGES.items()} == {
        name: title for name, title in STAGE_TITLES.items() if name != "animate"
    }
    assert all(set(stages) <= set(STAGES) for stages in STAGES_OF.values())


@pytest.mark.parametrize("command", ["tile", "outline", "preview", "tune"])
def test_percentage_rises_from_0_to_100(command):
    progress = Progress(command)
    stages = STAGES_OF.get(command, OF_SCENE)

    percents = [
        progress.receive(line).percent
        for stage in stages
        for line in (
            event("stage_started", stage=stage, total=4, pixels=100),
            *(event("stage_advanced", stage=stage, done=done, total=4) for done in (1, 2, 4)),
            event("stage_finished", stage=stage, seconds=1.0),
        )
    ]

    assert percents == sorted(percents)
    assert percents[0] == 0
    assert percents[-1] == pytest.approx(100)


def test_percentage_does_not_fall_when_a_stage_is_unknown_or_comes_again():
    progress = Progress("tile")
    progress.receive(event("stage_finished", stage="learn", seconds=1))

    again = progress.receive(event("stage_started", stage="survey", total=1, pixels=1))
    unknown = progress.receive(event("stage_started", stage="polish", total=1, pixels=1))

    assert again.percent == unknown.percent == pytest.approx(38)
    assert unknown.text == "Polish"


def test_time_left_includes_the_later_stages_and_leaves_out_what_an_earlier_run_has_done():
    clock = Clock()
    progress = Progress("outline", clock)
    progress.receive(event("stage_started", stage="outline", total=100, pixels=1))
    progress.receive(event("stage_advanced", stage="outline", done=50, total=100))
    clock.now = 10.0

    update = progress.receive(event("stage_advanced", stage="outline", done=60, total=100))

    later = 100 * STAGES["write"][1] / STAGES["outline"][1]  # s, at 1 s per part
    assert update.text == f"Outline regions: 60 of 100, about {duration(40 + later)} left"


def test_time_left_of_a_stage_that_does_not_grow_with_the_scene_is_that_of_the_stage():
    clock = Clock()
    progress = Progress("tile", clock)
    progress.receive(event("stage_started", stage="learn", total=100, pixels=1))
    progress.receive(event("stage_advanced", stage="learn", done=0, total=100))
    clock.now = 10.0

    update = progress.receive(event("stage_advanced", stage="learn", done=50, total=100))

    assert update.text == "Train the network: 50 of 100, about 10 s left in this stage"


def test_text_is_not_repeated_within_seconds():
    clock = Clock()
    progress = Progress("tile", clock)
    progress.receive(event("stage_started", stage="segment", total=1000, pixels=1))

    texts = []
    for done in range(1, 200):
        clock.now += 0.1
        texts.append(progress.receive(event("stage_advanced", stage="segment", done=done, total=1000)).text)

    assert len([text for text in texts if text]) == 3


def test_summary_names_the_failed_tiles():
    update = Progress("tile").receive(event("summary", text="9 regions", failed=[3, 7]))

    assert (update.percent, update.text, update.failed) == (100, "9 regions", (3, 7))


@pytest.mark.parametrize(
    "line",
    ["geoseg: a warning", "{broken", '["event"]', '{"event": "party"}', '{"event": 3}', ""],
    ids=["text", "broken", "list", "unknown", "number", "empty"],
)
def test_line_that_is_no_event_is_a_note(line):
    update = Progress("tile").receive(line)

    assert (update.percent, update.text, update.note) == (None, "", line)


@pytest.mark.parametrize("fields", [{}, {"stage": None, "done": "x", "total": None}, {"stage": [], "total": -1}])
def test_event_without_its_fields_changes_nothing(fields):
    progress = Progress("tile")

    for name in ("stage_started", "stage_advanced", "stage_finished", "note", "summary"):
        progress.receive(event(name, **fields))


# --- processes ------------------------------------------------------------------------------------------------------


def run_python(code, *, is_cancelled=lambda: False, **options):
    lines = []
    command = [sys.executable, "-c", code]
    return run_process(command, dict(os.environ), Control(lines.append, is_cancelled, **options)), lines


def test_lines_of_standard_error_arrive_one_by_one_and_output_is_kept():
    ended, lines = run_python("import sys; print('result'); print('one\\ntwö', file=sys.stderr); sys.exit(3)")

    assert (ended.code, ended.output.strip(), ended.is_cancelled) == (3, "result", False)
    assert list(ended.lines) == lines == ["one", "twö"]


def test_large_output_on_both_streams_does_not_block():
    ended, lines = run_python("import sys\nfor i in range(20000): print('o' * 50); print('e' * 50, file=sys.stderr)")

    assert ended.code == 0
    assert len(lines) == 20000
    assert len(ended.lines) == 200


def test_cancelled_process_ends_when_its_input_ends():
    code = (
        "import sys; print('started', file=sys.stderr, flush=True); sys.stdin.read(); print('stopped'); sys.exit(130)"
    )
    started = []

    def on_line(line):
        started.append(line)

    control = Control(on_line, lambda: bool(started))
    ended = run_process([sys.executable, "-c", code], dict(os.environ), control)

    assert (ended.code, ended.output.strip(), ended.is_cancelled) == (130, "stopped", True)


def test_cancelled_process_that_does_not_end_is_killed_with_what_it_has_started(tmp_path):
    child = tmp_path / "child"
    code = (
        "import os, signal, subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(child)!r}, 'w').write(str(p.pid))\n"
        "print('started', file=sys.stderr, flush=True)\ntime.sleep(60)"
    )
    seen = []

    control = Control(seen.append, lambda: bool(seen), grace=0.2)
    start = time.monotonic()
    ended = run_process([sys.executable, "-c", code], dict(os.environ), control)

    assert time.monotonic() - start < 20
    assert ended.is_cancelled
    assert ended.code < 0
    assert not is_running(int(child.read_text()))


def test_process_ends_when_a_callback_raises():
    def on_line(line):
        raise KeyboardInterrupt(line)

    code = "import os, sys; print(os.getpid(), file=sys.stderr, flush=True); sys.stdin.read()"
    with pytest.raises(KeyboardInterrupt) as raised:
        run_process([sys.executable, "-c", code], dict(os.environ), Control(on_line, lambda: False))

    assert not is_running(int(str(raised.value)))


@pytest.mark.slow
def test_geoseg_stops_as_at_ctrl_c_when_its_input_ends(tmp_path, program):
    scene = tmp_path / "scene.tif"
    write_scene(scene, SceneOptions(shape=(600, 600)))
    seen = []
    arguments = command_line(
        REFERENCE.commands["tile"], {"scene": scene, "out": tmp_path / "a.gpkg", "workers": 1, "tile_steps": 900}
    )

    control = Control(seen.append, lambda: any('"learn"' in line or '"segment"' in line for line in seen))
    ended = run_process([str(program), *arguments], environment_for(os.environ), control)

    assert ended.is_cancelled
    assert ended.code == 130
    assert "interrupted (SIGINT)" in error_text(ended)
    assert "a.run" in resume_text(str(tmp_path / "a.gpkg"), None, is_temporary=False)


@pytest.mark.slow
def test_geoseg_stops_when_the_program_that_started_it_is_killed(tmp_path, program):
    scene = tmp_path / "scene.tif"
    write_scene(scene, SceneOptions(shape=(600, 600)))
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'qgis_plugin')!r})\n"
        "from geoseg_qgis.runner.process import *\n"
        "def on_line(line):\n    print(line, flush=True)\n"
        "run_process(sys.argv[1:], dict(os.environ), Control(on_line, lambda: False))\n"
    )
    command = [sys.executable, "-c", code, program, "--stop-at-eof", "tile", scene, "--out", tmp_path / "a.gpkg"]
    command += ["--workers", "1", "--tile-steps", "900", "--progress", "json"]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    next(line for line in parent.stdout if '"learn"' in line or '"segment"' in line)
    children = children_of(parent.pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert len(children) >= 1
    assert not [pid for pid in children if is_running_after(pid, seconds=30)]


# --- finding geoseg -------------------------------------------------------------------------------------------------


def test_setting_takes_precedence_over_the_path_and_the_path_over_the_own_environment(tmp_path):
    chosen, on_path = make_program(tmp_path / "a" / "bin" / "geoseg"), make_program(tmp_path / "b" / "geoseg")
    own = make_program(executable_in(tmp_path / "own"))
    path = os.pathsep.join(["", "relative", str(tmp_path / "none"), str(on_path.parent)])

    found = [
        find_geoseg(str(chosen), tmp_path / "own", path),
        find_geoseg(str(tmp_path / "a"), tmp_path / "own", path),  # its environment
        find_geoseg("", tmp_path / "own", path),
        find_geoseg("", tmp_path / "own", ""),
    ]

    assert [one.executable for one in found] == [chosen, chosen, on_path, own]
    assert [one.origin.split()[-1] for one in found] == ["setting", "setting", "PATH", "plugin"]


def test_relative_folder_of_the_path_is_ignored(tmp_path, monkeypatch):
    make_program(tmp_path / "bin" / "geoseg")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(NotFoundError):
        find_geoseg("", tmp_path / "own", "bin")


def test_missing_geoseg_is_an_error_that_names_the_menu_and_the_setting(tmp_path):
    with pytest.raises(NotFoundError, match=r"not installed.*Install geoseg….*Settings > Options > Processing"):
        find_geoseg("", tmp_path / "own", str(tmp_path))


def test_wrong_setting_is_an_error_and_not_replaced_by_the_path(tmp_path):
    make_program(tmp_path / "geoseg")

    with pytest.raises(NotFoundError, match=r"the setting for the path of geoseg is .*nowhere"):
        find_geoseg(str(tmp_path / "nowhere"), tmp_path / "own", str(tmp_path))


def test_version_is_that_of_the_program(program):
    assert version_of(program, os.environ) == geoseg.__version__


@pytest.mark.parametrize("text", ["#!/bin/sh\necho something else\n", "#!/bin/sh\necho broken >&2; exit 1\n", "", None])
def test_program_that_is_not_geoseg_is_an_error(tmp_path, text):
    program = tmp_path / "geoseg" if text is None else make_program(tmp_path / "geoseg", text)

    with pytest.raises(NotFoundError, match=r"Install geoseg…"):
        version_of(program, os.environ)


def test_variables_of_the_python_of_qgis_do_not_reach_geoseg():
    given = {
        "PYTHONHOME": "/q",
        "PYTHONPATH": "/q",
        "PROJ_LIB": "/q",
        "GDAL_DATA": "/q",
        "HTTPS_PROXY": "p",
        "PATH": "/",
    }

    assert environment_for(given) == {"HTTPS_PROXY": "p", "PATH": "/", "PYTHONIOENCODING": "utf-8"}


def test_own_environment_is_outside_of_the_plugin(tmp_path):
    folder = own_environment({}, tmp_path)

    assert tmp_path in folder.parents
    assert PLUGIN not in folder.parents


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "lines", "expected"),
    [
        (1, ["geoseg: a warning", "geoseg: it failed. Do this."], "it failed. Do this."),
        (2, ["Usage: geoseg tile", "", "Error: No such option: --x"], "No such option: --x"),
        (-9, [], "memory is full"),
        (-11, ['{"event": "note"}', "oops"], "by signal 11: oops"),
        (7, [], "exit code 7"),
    ],
)
def test_error_is_the_last_sentence_of_geoseg(code, lines, expected):
    assert expected in error_text(Ended(code, "", tuple(lines), False))


def test_run_without_a_run_folder_is_not_said_to_be_resumable(tmp_path):
    assert resume_text(str(tmp_path / "a.gpkg"), None, is_temporary=False) == ""


def test_cancelled_run_with_a_temporary_file_names_that_file(tmp_path):
    (tmp_path / "mine").mkdir()

    text = resume_text(str(tmp_path / "a.gpkg"), str(tmp_path / "mine"), is_temporary=True)

    assert f"choose {tmp_path / 'a.gpkg'} as the output file" in text
    assert str(tmp_path / "mine") in text


def test_failed_tiles_are_listed():
    assert "1 tile failed and is a hole in the result: 4." in failed_text([4])
    assert failed_text(range(30)).startswith("30 tiles failed and are holes in the result: 0, 1,")


def test_legend_names_each_parameter_once():
    assert legend("--out or --out; --x", {"--out": "Polygons"}) == " In this dialog, --out is “Polygons”."


# --- installation ---------------------------------------------------------------------------------------------------


def write_wheel(folder, version="9.9"):
    """Write a wheel of a program named geoseg, which prints its version and nothing else."""
    info = f"geoseg-{version}.dist-info"
    path = folder / f"geoseg-{version}-py3-none-any.whl"
    files = {
        "geoseg.py": f"def start():\n    print('geoseg, version {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: geoseg\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ngeoseg = geoseg:start\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def offline(tmp_path):
    """Return variables with which pip reaches no index, and the Python of the tests is the only one."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").symlink_to(Path(sys.executable).resolve())
    return {"PATH": str(bin_folder), "HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def request(tmp_path, source):
    return Request(str(source), tmp_path / "own", is_cpu_only=False)


@pytest.mark.slow
def test_installation_with_venv_and_pip_makes_an_environment_and_replaces_it(tmp_path):
    lines, variables = [], offline(tmp_path)

    first = install(request(tmp_path, write_wheel(tmp_path)), variables, lines.append, lambda: False)
    second = install(request(tmp_path, write_wheel(tmp_path, "9.10")), variables, lines.append, lambda: False)

    assert (first, second) == ("9.9", "9.10")
    assert find_geoseg("", tmp_path / "own", "").executable == executable_in(tmp_path / "own")
    assert (tmp_path / "install.log").read_text().splitlines() == lines[len(lines) // 2 :]
    assert lines[0] == "1 of 2: Make an environment"


@pytest.mark.slow
def test_failed_installation_names_cause_remedy_and_log_and_leaves_nothing(tmp_path):
    with pytest.raises(InstallError, match=r"“Install geoseg” failed: .*geoseg.*internet.*install\.log") as raised:
        install(request(tmp_path, "geoseg==9.9"), offline(tmp_path), lambda _: None, lambda: False)

    assert "\n" not in str(raised.value)
    assert not (tmp_path / "own").exists()


def test_cancelled_installation_leaves_nothing(tmp_path):
    with pytest.raises(InstallError, match="was cancelled"):
        install(request(tmp_path, write_wheel(tmp_path)), offline(tmp_path), lambda _: None, lambda: True)

    assert not (tmp_path / "own").exists()


def test_failed_installation_keeps_the_former_environment(tmp_path):
    former = make_program(executable_in(tmp_path / "own"))
    (tmp_path / "own" / "geoseg-qgis.txt").write_text("Made by the QGIS plugin geoseg.\n")

    with pytest.raises(InstallError, match="was cancelled"):
        install(request(tmp_path, write_wheel(tmp_path)), offline(tmp_path), lambda _: None, lambda: True)

    assert find_geoseg("", tmp_path / "own", "").executable == former
    assert not (tmp_path / "own.old").exists()


def test_folder_of_the_user_is_not_replaced_by_an_installation(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")

    with pytest.raises(InstallError, match="was not made by this plugin"):
        install(request(tmp_path, write_wheel(tmp_path)), offline(tmp_path), lambda _: None, lambda: False)

    assert (tmp_path / "own" / "thesis.txt").read_text() == "mine"


def test_installation_without_uv_and_python_names_both(tmp_path):
    variables = {"PATH": str(tmp_path), "HOME": str(tmp_path)}

    assert find_tools(variables) == Tools(None, None)
    with pytest.raises(InstallError, match=r"uv.*Python 3\.11"):
        install(request(tmp_path, "geoseg"), variables, lambda _: None, lambda: False)


def test_too_old_python_is_not_used(tmp_path):
    make_program(tmp_path / "python3", "#!/bin/sh\necho 3.9\n")

    assert find_tools({"PATH": str(tmp_path)}) == Tools(None, None)


def test_uv_makes_the_environment_if_there_is_one(tmp_path):
    uv = make_program(tmp_path / "uv")
    tools = find_tools({"PATH": str(tmp_path)})

    steps = steps_of(Request("source", tmp_path / "own", constraints=tmp_path / "constraints.txt"), tools)

    assert tools.uv == uv
    assert all(step.command[0] == str(uv) for step in steps)
    assert steps[-1].command[-3:] == ("-c", str(tmp_path / "constraints.txt"), "source")
    if sys.platform == "linux":
        assert "https://download.pytorch.org/whl/cpu" in steps[1].command


def test_what_is_installed_is_the_source_code_beside_the_plugin():
    assert default_source(PLUGIN) == (str(ROOT), ROOT / "constraints.txt")


def test_plugin_without_source_code_has_no_default(tmp_path):
    assert default_source(tmp_path / "plugins" / "geoseg_qgis") == ("", None)


# --- the code of the plugin, and its package ------------------------------------------------------------------------

MODULES = sorted(PLUGIN.rglob("*.py"))


def imported(path):
    """Return the names that a module imports absolutely."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PLUGIN)) for path in MODULES])
def test_module_of_the_plugin_imports_only_qgis_and_the_standard_library(path):
    roots = {name.partition(".")[0] for name in imported(path)}
    allowed = set() if path.parent.name == "runner" else {"qgis", "processing"}

    assert roots <= set(sys.stdlib_module_names) | allowed
    assert not [name for name in imported(path) if name.startswith(("PyQt", "qgis.PyQt.sip"))]


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PLUGIN)) for path in MODULES])
def test_module_of_the_plugin_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.fixture
def package(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "qgis_plugin"))
    import package

    return package


def test_zip_passes_the_checks_and_is_reproducible(tmp_path, package):
    first, second = package.pack(tmp_path / "a"), package.pack(tmp_path / "b")

    assert package.problems_of(first) == []
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert {name.partition("/")[0] for name in names} == {"geoseg_qgis"}
    assert {"geoseg_qgis/source/geoseg/__init__.py", "geoseg_qgis/source/pyproject.toml"} <= set(names)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("geoseg_qgis/lib.so", b"", "binaries"),
        ("geoseg_qgis/.git/config", b"", "hidden"),
        ("other/readme.txt", b"", "outside"),
        ("geoseg_qgis/metadata.txt", b"[general]\nname=My plugin\n", "metadata.txt has no email"),
        ("geoseg_qgis/metadata.txt", b"[general]\nname=My plugin\n", "the name contains plugin"),
        ("geoseg_qgis/metadata.txt", b"[general]\nname=My plugin\n", "repository is no address"),
        ("geoseg_qgis/readme.txt", b"", "LICENSE is missing"),
    ],
)
def test_zip_that_the_repository_would_refuse_is_reported(tmp_path, package, name, content, problem):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)

    assert any(problem in found for found in package.problems_of(path))
