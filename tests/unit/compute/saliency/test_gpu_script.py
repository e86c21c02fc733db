"""The script for a GPU runs where there is none, on tiny shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import gpu, gpu_blocks


def test_it_measures_every_way_and_they_agree(tmp_path: Path) -> None:
    gpu.main(["--device", "cpu", "--tiny", "--runs", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert [tuple(row["tokens"]) for row in results] == list(gpu.TINY_SIZES)
    for row in results:
        assert set(row["seconds"]) == {"packed", "one by one", "whole texts"}
        assert min(row["seconds"].values()) > 0
        assert row["largest difference to whole texts, nats"] < 1e-5
        assert row["largest difference to one by one, nats"] < 1e-5
    assert (tmp_path / "gpu.md").read_text().count("| tiny |") == len(results)


def test_it_stops_where_its_time_is_over_and_says_what_is_left(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--tiny", "--budget", "0", "--out", str(tmp_path)]
    gpu.main(options)
    report = json.loads((tmp_path / "gpu.json").read_text())
    (n, m), left = gpu.TINY_SIZES
    assert [row["tokens"] for row in report["results"]] == [[n, m]]
    said = f"tiny {left[0]} × {left[1]}"
    assert report["left out, for time"] == [said]
    assert said in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_every_kind_of_block_is_the_same_on_the_same_device(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--tiny", "--keys", "1", "--out", str(tmp_path)]
    gpu_blocks.main(options)
    report = json.loads((tmp_path / "gpu_blocks.json").read_text())
    assert len(report["same"]) > 30
    assert {row["apart"] for row in report["same"].values()} == {0.0}
    assert not [row for row in report["same"].values() if row["problems"]]
    assert set(report["at_size"]) - {"opened"} <= set(report["same"])
    assert not any(row["problem"] for name, row in report["at_size"].items() if name != "opened")
