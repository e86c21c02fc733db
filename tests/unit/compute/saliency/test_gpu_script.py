"""The script for a GPU runs where there is none, on tiny shapes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks import gpu


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
