"""Names of components as panels show them: from annotations, by hand, in files and recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
from bokeh.models import ColumnDataSource, Whisker
from twinlens.errors import AnnotationError, ArgumentError
from twinlens.figures.paper_figures import label_figure
from twinlens.labels.annotate import write_annotations
from twinlens.labels.given_names import (
    LabelledTrace,
    check,
    from_annotations,
    names_of,
    to_annotations,
)
from twinlens.labels.questions import Annotation, Component
from twinlens.labels.shares import label_shares
from twinlens.traces import recording
from twinlens.view.explorer import Explorer

from tests.support.made_up import MadeUpTrace

HAND = {
    "3/1": {"name": "Namen von Tieren", "labels": ["writing", "semantics"]},
    "0/12": {"name": "verbs", "labels": []},
}


def _one(seed: int, name: str | None, tasks=(), level=None, model="base", layer=0):  # type: ignore[no-untyped-def]
    return Annotation(Component(model, layer, 4, ()), seed, name, tasks or None, level, {})


def test_several_rounds_give_one_name_and_the_labels_of_most() -> None:
    rounds = [
        _one(0, None),
        _one(1, "animals", ("writing",), "semantics"),
        _one(2, "pets", ("writing", "coding"), "syntax"),
        _one(3, "beasts", ("maths",), "semantics"),
    ]
    found = names_of(rounds)["base", 0, 4]
    assert (found.name, found.labels) == ("animals", ("writing", "semantics"))
    nobody = names_of([_one(0, None), _one(1, None)])["base", 0, 4]
    assert (nobody.name, nobody.labels) == (None, ())


def test_names_by_hand_survive_a_file(tmp_path: Path) -> None:
    explorer = Explorer(MadeUpTrace(), labels=HAND)
    explorer.write_labels(tmp_path / "labels.csv")
    other = Explorer(MadeUpTrace())
    other.read_labels(tmp_path / "labels.csv")
    assert other.labels == HAND
    assert [one.component.layer for one in to_annotations(HAND)] == [0, 3]
    assert from_annotations(to_annotations(HAND)) == HAND


def test_names_by_hand_go_into_recordings(tmp_path: Path) -> None:
    explorer = Explorer(MadeUpTrace(labelled=True))
    explorer.labels = HAND
    explorer.save(tmp_path / "a.twl")
    kept = recording.read(tmp_path / "a.twl").block("components/3")
    assert kept[1]["name"] == "Namen von Tieren"
    assert kept[1]["labels"] == ["writing", "semantics"]
    own = MadeUpTrace(labelled=True).block("components/3")
    assert kept[2] == own[2]
    assert LabelledTrace(MadeUpTrace(), {}).block("rotation") == MadeUpTrace().block("rotation")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"3": {"name": "x"}}, "write layer/component"),
        ({"a/b": {"name": "x"}}, "write layer/component"),
        ({"3/1": {"name": ""}}, "a name is one line"),
        ({"3/1": {"name": "two\nlines"}}, "a name is one line"),
        ({"3/1": {"name": "cannot tell"}}, "a name is one line"),
        ({"3/1": "animals"}, "a name is one line"),
        ({"3/1": {"name": "x", "labels": ["cooking"]}}, "label 'cooking'"),
    ],
)
def test_bad_names_are_refused(labels: dict, said: str) -> None:
    with pytest.raises(AnnotationError, match=said):
        check(labels)
    explorer = Explorer(MadeUpTrace(), labels=HAND)
    with pytest.raises(ArgumentError, match=said):
        explorer.labels = labels
    assert explorer.labels == HAND


def test_a_file_about_other_models_is_refused(tmp_path: Path) -> None:
    write_annotations(tmp_path / "other.csv", [_one(0, "animals", model="vicuna")])
    with pytest.raises(AnnotationError, match="about 'vicuna'"):
        Explorer(MadeUpTrace()).read_labels(tmp_path / "other.csv")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figure_shows_means_and_deviations_of_the_shares(theme: str) -> None:
    annotations = [
        _one(
            seed,
            "x",
            ("writing",) if (layer + seed) % 3 else ("coding",),
            "semantics",
            model,
            layer,
        )
        for model in ("base", "tuned")
        for layer in range(8)
        for seed in range(3)
    ]
    shares = label_shares(annotations, "task")
    layout = label_figure(shares, theme)  # type: ignore[arg-type]
    figures = [fig for fig, *_ in layout.children[0].children]
    assert [fig.title.text for fig in figures] == [
        "writing",
        "maths",
        "coding",
        "translation",
        "none",
    ]
    rows = {(row["layers"], row["label"]): row for row in shares.summary}
    for fig in figures:
        assert len(list(fig.select({"type": Whisker}))) == 2
        for source in fig.select({"type": ColumnDataSource}):
            if "mean" in source.data:
                model = source.data["model"][0]
                assert source.data["layers"] == ["0-3", "4-7"]
                for layers, mean, sd in zip(
                    source.data["layers"], source.data["mean"], source.data["sd"], strict=True
                ):
                    row = rows[layers, fig.title.text]
                    assert (mean, sd) == (row[f"mean_{model}"], row[f"sd_{model}"])
