"""The driver of the stages: failures, progress events and times."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from geoseg.errors import TileError
from geoseg.progress import Note, StageAdvanced, StageFinished, StageStarted
from geoseg.run.contents import CodeAssignments, LabelMeans, TileSuperpixels
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import CODE_ASSIGNMENTS, LABEL_MEANS, SUPERPIXELS, TILE_SUPERPIXELS, VOTES, ProductStore
from geoseg.run.stages import Stages
from geoseg.segment import superpixels
from geoseg.steps import segment

from .run_in_folder import run_in, write_inputs


@dataclass
class Work:
    """A job whose tiles fail where wanted; `attempts` are the tiles in the order in which they were computed."""

    store: ProductStore = field(default_factory=lambda: ProductStore(MemoryFolder()))
    bad: frozenset = frozenset()
    attempts: list = field(default_factory=list)


def compute(work, number):
    work.attempts.append(number)
    work.store.put(TILE_SUPERPIXELS, TileSuperpixels(np.full((2, 2), number, np.int32)), number)
    if number in work.bad:
        raise ValueError(f"tile {number}\nis bad")


def measure(work, number):
    work.store.put(LABEL_MEANS, LabelMeans(np.zeros((1, number))), number)


@pytest.fixture
def events():
    return []


def stages_of(work, events, tiles=(0, 1, 2), blocks=()):
    return Stages(work.store, tiles, blocks, n_pixels=100, progress=events.append)


def test_tile_that_fails_is_listed_with_its_error_and_left_out_of_later_stages(events):
    work = Work(bad=frozenset({1}))
    stages = stages_of(work, events)

    with stages.stage("segment", 3):
        stages.each_tile(compute, work, makes=[TILE_SUPERPIXELS])
    with stages.stage("label", 2):
        stages.each_tile(measure, work, makes=[LABEL_MEANS])

    assert stages.failed == {1: "ValueError: tile 1 is bad"}
    assert stages.tiles == [0, 2]
    assert work.store.finished([LABEL_MEANS]) == {0, 2}
    assert [event.text for event in events if isinstance(event, Note)] == ["tile 1 failed: ValueError: tile 1 is bad"]


def test_what_a_failed_tile_stored_before_its_error_is_removed(events):
    work = Work(bad=frozenset({1}))

    stages_of(work, events).each_tile(compute, work, makes=[TILE_SUPERPIXELS])

    assert work.store.finished([TILE_SUPERPIXELS]) == {0, 2}


def test_all_tiles_failing_is_a_tile_error_with_the_first_error(events):
    work = Work(bad=frozenset({0, 1, 2}))

    with pytest.raises(TileError, match="every tile failed; the first error: ValueError: tile 0 is bad"):
        stages_of(work, events).each_tile(compute, work, makes=[TILE_SUPERPIXELS])


def test_block_that_fails_is_noted_and_fails_no_tile_yet(events):
    work = Work(bad=frozenset({1}))
    stages = stages_of(work, events, blocks=(0, 1))

    stages.each_block(compute, work, makes=[TILE_SUPERPIXELS])

    assert (stages.tiles, stages.failed) == ([0, 1, 2], {})
    assert events == [Note("block 1 of superpixels failed: ValueError: tile 1 is bad")]


def test_all_blocks_failing_is_a_tile_error(events):
    work = Work(bad=frozenset({0, 1}))

    with pytest.raises(TileError, match="every block of superpixels failed; the first error: ValueError: tile 0"):
        stages_of(work, events, blocks=(0, 1)).each_block(compute, work, makes=[TILE_SUPERPIXELS])


def test_finished_tiles_are_not_computed_again_and_a_tile_without_one_of_its_products_is(events):
    work = Work()
    for tile in (0, 1):
        compute(work, tile)
    work.store.put(CODE_ASSIGNMENTS, CodeAssignments(np.eye(2)), 0)
    work.attempts.clear()

    stages_of(work, events).each_tile(compute, work, makes=[TILE_SUPERPIXELS, CODE_ASSIGNMENTS])

    assert work.attempts == [1, 2]


def test_success_of_a_tile_that_failed_before_removes_what_was_computed_without_it(events):
    work = Work(bad=frozenset({1}))
    stages_of(work, events).each_tile(compute, work, makes=[VOTES, TILE_SUPERPIXELS])
    work.store.put(CODE_ASSIGNMENTS, CodeAssignments(np.eye(2)), 0)
    work.bad = frozenset()

    stages_of(work, events).each_tile(compute, work, makes=[VOTES, TILE_SUPERPIXELS])

    assert not work.store.has(CODE_ASSIGNMENTS, 0)


def test_stage_reports_its_start_each_part_and_its_end(events):
    work = Work()
    compute(work, 1)
    stages = stages_of(work, events)

    with stages.stage("segment", 3):
        stages.each_tile(compute, work, makes=[TILE_SUPERPIXELS])

    assert events[0] == StageStarted("segment", 3, 100)
    assert events[1:-1] == [StageAdvanced("segment", done, 3) for done in (1, 2, 3)]
    assert isinstance(events[-1], StageFinished)
    assert stages.seconds.keys() == {"segment"}


def test_stage_that_is_run_twice_has_the_sum_of_its_times(events):
    stages = stages_of(Work(), events)

    for _ in range(2):
        before = stages.seconds.get("merge", 0)
        with stages.stage("merge", 1):
            stages.advance()

    assert stages.seconds["merge"] >= before >= 0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("scene", ["survey", "superpixels", "learn", "segment", "classify", "label", "merge", "outline"]),
        ("tile", ["survey", "superpixels", "segment", "classify", "label", "merge", "outline"]),
        ("rag", ["survey", "superpixels", "segment", "classify", "label", "merge", "outline"]),
        ("labels", ["label", "merge", "outline"]),
    ],
)
def test_stages_of_a_run_are_reported_in_order_and_each_reaches_its_total(mode, names, inputs):
    events, folder = [], MemoryFolder()

    for _ in ("first", "resumed"):
        events.clear()
        made = run_in(folder, inputs, mode, progress=events.append)

        assert [event.stage for event in events if isinstance(event, StageStarted)] == names
        assert [event.stage for event in events if isinstance(event, StageFinished)] == names
        assert list(made.stages.seconds) == names
        for name in names:
            done = [event.done for event in events if isinstance(event, StageAdvanced) and event.stage == name]
            (total,) = [event.total for event in events if isinstance(event, StageStarted) and event.stage == name]
            assert done == sorted(done)
            assert all(count <= total for count in done)


def test_tiles_of_a_block_that_fails_are_listed_and_the_others_have_classes(inputs, monkeypatch):
    monkeypatch.setattr(superpixels, "BLOCK", 64)
    segment_block = segment.segment_block

    def one_fails(job, number):
        if number == 3:
            raise MemoryError("no room")
        segment_block(job, number)

    monkeypatch.setattr(segment, "segment_block", one_fails)
    events = []

    made = run_in(MemoryFolder(), inputs, "rag", progress=events.append)

    assert Note("block 3 of superpixels failed: MemoryError: no room") in events
    assert set(made.failed) == {2, 3}  # the tiles that read it
    assert all(SUPERPIXELS.folder in error for error in made.failed.values())
    assert made.classes[:, :128].all()
    assert not made.classes[:, 128:].any()
