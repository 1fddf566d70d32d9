"""The names of snapshots, whatever the clock says."""

from __future__ import annotations

from pathlib import Path

from twisted_mta.backup.snapshots import Snapshots

A_DAY = 86_400.0
HEADER = {"hostname": "mx.a.test", "release": "1", "sections": {}}


def make(snapshots: Snapshots, now: float) -> str:
    with snapshots.writing():
        return snapshots.finish(snapshots.begin(now), HEADER, now).name


def test_they_stand_in_the_order_of_making(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    made = [make(snapshots, now) for now in (10 * A_DAY, *[20 * A_DAY] * 11, 12 * A_DAY, 21 * A_DAY)]
    assert snapshots.names() == made
    assert made[:3] == ["1970-01-11T00-00-00Z", "1970-01-21T00-00-00Z", "1970-01-21T00-00-00Z-2"]
    assert made[-2:] == ["1970-01-21T00-00-00Z-12", "1970-01-22T00-00-00Z"]
    assert snapshots.open(made[-2]).made == 12 * A_DAY


def test_what_was_just_made_is_kept_after_the_clock_was_set_back(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    early, newest = make(snapshots, 20 * A_DAY), make(snapshots, 10 * A_DAY)
    assert snapshots.open().name == newest
    assert snapshots.keep(1) == [early]
    assert snapshots.names() == [newest]
