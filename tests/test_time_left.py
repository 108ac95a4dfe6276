"""The time left for a whole run: from the expected times of the stages, corrected by what has been measured."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from geoseg.cli import progress_bars
from geoseg.config import load_config
from geoseg.pipeline import segment_scene
from geoseg.progress import StageAdvanced, StageReporter, StageStarted, TimeLeft
from geoseg.run.stage_costs import expected_seconds, seconds_left_of

from .conftest import fields

EXPECTED = {"survey": 2.0, "learn": 8.0, "segment": 60.0, "outline": 20.0, "write": 10.0}


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self):
        return self.now


def simulated(expected, actual, *, parts=20, finished=0.0):
    """Return (seconds that are left, seconds that were estimated) after each part of a run.

    `actual` has the real time of each stage, of which an earlier run has done the share `finished`.
    """
    clock, events = Clock(), []
    reporter = StageReporter(lambda event: events.append((clock.now, event)), clock=clock)
    reporter.expect(expected)
    for stage, seconds in actual.items():
        reporter.begin(stage, parts, pixels=1)
        before = int(finished * parts)
        reporter.advance(before)
        for part in range(before + 1, parts + 1):
            clock.now += seconds / parts
            reporter.advance(part)
        reporter.finish()
    estimates = [(time, event.seconds_left) for time, event in events if isinstance(event, StageAdvanced)]
    return [(clock.now - time, left) for time, left in estimates]


def test_expected_run_is_estimated_exactly():
    for real, estimated in simulated(EXPECTED, EXPECTED):
        assert estimated == pytest.approx(real, abs=0.1)


@pytest.mark.parametrize("speed", [0.2, 3.0])
def test_speed_of_the_machine_is_learned_from_the_first_stages(speed):
    found = simulated(EXPECTED, {name: speed * seconds for name, seconds in EXPECTED.items()})

    total = found[0][0]
    for real, estimated in found[len(found) // 2 :]:
        assert estimated == pytest.approx(real, rel=0.2, abs=0.05 * total)


def test_stage_that_is_slower_than_expected_does_not_spoil_the_end():
    actual = EXPECTED | {"learn": 80.0}
    found = simulated(EXPECTED, actual)

    for real, estimated in found[-25:]:  # from the middle of the outlines on
        assert estimated == pytest.approx(real, rel=1.0, abs=5)
    assert found[-1] == (0.0, 0.0)


def test_estimate_is_of_the_run_and_not_of_the_stage():
    left = TimeLeft(EXPECTED)
    left.begin("segment", 10, now=0.0)
    left.advance(0, now=0.0)
    left.advance(9, now=54.0)

    assert left.seconds(now=54.0) == pytest.approx(6 + 20 + 10, rel=0.05)


def test_parts_of_an_earlier_run_do_not_count_for_the_speed():
    for real, estimated in simulated(EXPECTED, EXPECTED, finished=0.5):
        assert estimated <= 2 * real + 30
    found = simulated({"segment": 100.0}, {"segment": 100.0}, finished=0.8)
    assert [estimated for _, estimated in found] == pytest.approx([real for real, _ in found], abs=0.1)


def test_time_passes_also_while_no_part_finishes():
    left = TimeLeft({"segment": 100.0})
    left.begin("segment", 10, now=0.0)
    left.advance(0, now=0.0)
    left.advance(5, now=50.0)

    assert left.seconds(now=60.0) == pytest.approx(40, rel=0.05)
    assert left.seconds(now=500.0) == 0


def test_stage_that_is_not_expected_has_no_estimate():
    left = TimeLeft({"segment": 10.0})
    left.begin("animate", 2, now=0.0)
    left.advance(1, now=1.0)

    assert left.seconds(now=1.0) is None


@pytest.mark.parametrize(
    ("values", "dearer"),
    [({"tile_steps": 8}, {"segment"}), ({"training": "tile"}, {"segment"}), ({"learn__steps": 96}, {"learn"})],
)
def test_expected_times_follow_the_configuration(values, dearer):
    before, after = expected_seconds(load_config(), 10**7), expected_seconds(load_config(**values), 10**7)

    assert {name for name in after if after[name] > before[name]} == dearer


def test_workers_share_what_is_done_per_tile():
    one, four = (expected_seconds(load_config(), 10**8, n_at_once=n) for n in (1, 4))

    assert {name for name in one if four[name] < one[name]} == {
        "superpixels",
        "segment",
        "classify",
        "label",
        "outline",
    }


# --- displays -------------------------------------------------------------------------------------------------------


def test_plain_lines_show_the_time_left(capsys):
    with progress_bars.progress_display("plain") as progress:
        progress(StageStarted("segment", 4, 10**6))
        progress(StageAdvanced("segment", 2, 4, 130.0))
        progress.finish("done")

    assert "2 min left" in capsys.readouterr().err


def test_bars_show_the_time_left_for_the_run(tmp_path):
    with (tmp_path / "shown").open("w") as file:
        console = Console(file=file, force_terminal=True, width=100)
        with Progress(TextColumn("{task.fields[left]}"), console=console) as bars:
            progress = progress_bars.TextDisplay(console, bars)
            progress(StageStarted("segment", 4, 10**6))
            progress(StageAdvanced("segment", 2, 4, 130.0))

    assert "2 min left" in (tmp_path / "shown").read_text()


def test_run_reports_the_time_left_as_json(make_raster, tmp_path, capsys):
    scene = make_raster(fields((160, 200)), "scene.tif")
    with progress_bars.progress_display("json") as progress:
        segment_scene(scene, Path(tmp_path) / "a.gpkg", method="kmeans", workers=0, tiles__size=64, progress=progress)

    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    left = {event["stage"]: event["seconds_left"] for event in events if event["event"] == "stage_advanced"}
    assert {"survey", "superpixels", "segment", "classify", "label", "outline", "write"} <= set(left)
    assert list(left.values())[-1] == 0


# --- status ---------------------------------------------------------------------------------------------------------


def test_status_of_a_run_under_way_sums_the_stages_at_the_speed_of_the_present_one():
    stages = [("survey", 1.0, None), ("segment", 0.25, 90.0), ("outline", 0.5, None), ("write", 0.0, None)]

    assert seconds_left_of(stages, EXPECTED) == pytest.approx(90 + 2 * (0.5 * 20 + 10))


@pytest.mark.parametrize("stages", [[], [("segment", 0.5, None)], [("animate", 0.5, 3.0)]])
def test_status_without_a_speed_has_no_time_left(stages):
    assert seconds_left_of(stages, EXPECTED) is None
