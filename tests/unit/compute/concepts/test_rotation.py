"""Rotation of feed-forward components, against SciPy, scikit-learn and planted changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from scipy.stats import special_ortho_group
from sklearn.decomposition import PCA
from twinlens.compute.concepts.components import principal_components, value_vectors
from twinlens.compute.concepts.rotation import (
    RotationSettings,
    layer_rotation,
    pair_rotation,
    principal_angles,
    random_frames,
    rotation,
)
from twinlens.compute.models import architectures
from twinlens.compute.models.weights import Weights
from twinlens.compute.pair import Pair, load_pair
from twinlens.errors import HeadIndexError, Interrupted, NotFiniteError, PairMismatchError
from twinlens.figures.layer_charts import rotation_figure
from twinlens.weights.rotation_table import Rotation

from tests.support import tiny

SMALL = RotationSettings(components=6, draws=3, added=2, words=5)


def _values(seed: int = 0, neurons: int = 90, hidden: int = 24):
    """Value vectors whose components are well apart."""
    rng = np.random.default_rng(seed)
    spectrum = np.linspace(6, 1, hidden)
    return rng.normal(size=(neurons, hidden)) * spectrum + rng.normal(size=hidden)


def _turn(hidden: int, first: int, second: int, degrees: float):
    turn, angle = np.eye(hidden), np.radians(degrees)
    turn[[first, second], [first, second]] = np.cos(angle)
    turn[first, second], turn[second, first] = np.sin(angle), -np.sin(angle)
    return turn


def test_angles_are_those_of_scipy_for_every_number_of_components() -> None:
    rng = np.random.default_rng(1)
    base, tuned = (np.linalg.qr(rng.normal(size=(20, 7)))[0].T for _ in range(2))
    found = principal_angles(base, tuned)
    for k in range(1, 8):
        expected = np.degrees(subspace_angles(base[:k].T, tuned[:k].T))[::-1]
        np.testing.assert_allclose(found[k - 1, :k], expected, rtol=1e-6)
        assert np.isnan(found[k - 1, k:]).all()


@pytest.mark.parametrize("degrees", [0.01, 3.0, 40.0, 90.0])
def test_small_and_large_angles(degrees: float) -> None:
    base = np.eye(4, 9)
    found = principal_angles(base, base @ _turn(9, 2, 7, degrees))
    np.testing.assert_allclose(found[1, :2], 0, atol=1e-5)
    np.testing.assert_allclose(found[3, :4], [0, 0, 0, degrees], atol=1e-5)


def test_planted_rotation_is_found_at_its_angle() -> None:
    base = _values()
    directions = principal_components(base, 24).directions
    # Component 2 turns out of the first eight, towards component 15; nothing else moves.
    turn = directions.T @ _turn(24, 2, 15, 25.0) @ directions
    found = layer_rotation(base, base @ turn, random_frames(2, 8, 24))
    np.testing.assert_allclose(found.angles[1, :2], 0, atol=1e-4)
    for k in (3, 5, 8):
        np.testing.assert_allclose(found.angles[k - 1, k - 1], 25.0, atol=1e-4)
        np.testing.assert_allclose(found.angles[k - 1, : k - 1], 0, atol=1e-4)
    explained = principal_components(base, 24).explained
    lost = np.sin(np.radians(25)) ** 2 * (explained[2] - explained[15])
    np.testing.assert_allclose(found.own - found.inside, [0, 0] + [lost] * 6, atol=1e-9)


def test_share_of_variance_is_that_of_scikit_learn() -> None:
    base, tuned = _values(0), _values(1)
    found = layer_rotation(base, tuned, random_frames(2, 10, 24))
    mine, theirs = (PCA(10, svd_solver="full").fit(values) for values in (base, tuned))
    np.testing.assert_allclose(found.own, np.cumsum(mine.explained_variance_ratio_), rtol=1e-9)
    inside = (base - base.mean(axis=0)) @ theirs.components_.T
    expected = np.cumsum(inside.var(axis=0)) / base.var(axis=0).sum()
    np.testing.assert_allclose(found.inside, expected, rtol=1e-9)
    assert (found.inside < found.own).all()


def test_null_is_what_rotating_all_weights_gives() -> None:
    base, hidden = _values(), 24
    turns = special_ortho_group.rvs(hidden, size=400, random_state=5)
    norm = np.linalg.norm(base)
    differences = [np.linalg.norm(base @ turn - base) / norm for turn in turns]
    frames = random_frames(400, 5, hidden, seed=2)
    found = layer_rotation(base, base, frames)
    np.testing.assert_allclose(
        found.null_difference, np.sqrt(np.mean(np.square(differences))), rtol=0.02
    )
    directions = principal_components(base, 5).directions
    fixed = np.eye(5, hidden)
    drawn = np.mean([principal_angles(fixed, frame)[4, :5] for frame in frames], axis=0)
    whole = np.mean([principal_angles(directions, directions @ t)[4, :5] for t in turns], axis=0)
    np.testing.assert_allclose(drawn, whole, rtol=0.05)
    # On average, k random directions of d hold k / d of any variance.
    np.testing.assert_allclose(found.null_inside.mean(axis=0), np.arange(1, 6) / hidden, rtol=0.1)


def test_equal_weights_are_not_turned_and_nothing_is_added() -> None:
    found = layer_rotation(_values(), _values(), random_frames(2, 24, 24))
    assert np.nanmax(found.angles) < 1e-4
    np.testing.assert_allclose(found.inside, found.own, rtol=1e-12)
    assert (found.difference, found.added) == (0.0, ())


def test_seeded() -> None:
    first, again, other = (random_frames(2, 3, 9, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    np.testing.assert_allclose(first @ first.transpose(0, 2, 1), [np.eye(3)] * 2, atol=1e-12)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_value_vectors_from_files_and_from_the_model(architecture: str, tmp_path: Path) -> None:
    model = tiny.model(architecture)
    model.save_pretrained(tmp_path)
    for layer in range(3):
        expected = architectures.value_vectors(model, layer)
        assert expected.shape == (48, 32)
        assert torch.equal(value_vectors(Weights(tmp_path), layer), expected)
        assert torch.equal(value_vectors(Weights(model), layer), expected)


def _same(first: Rotation, second: Rotation) -> None:
    np.testing.assert_array_equal(first.null_angles, second.null_angles)
    assert first.rows() == second.rows()
    assert first.added_rows() == second.added_rows()


@pytest.mark.parametrize("memory", ["both", "sequential"])
def test_pair_and_folders_give_the_same(folders: tuple[Path, Path], memory: str) -> None:
    pair = load_pair(*folders, memory=memory, dtype=torch.float32)
    told: list[tuple[int, int]] = []
    found = pair_rotation(
        pair, settings=SMALL, report=lambda done, total, _: told.append((done, total))
    )
    _same(found, rotation(*map(Weights, folders), pair.tokenizers["tuned"], settings=SMALL))
    assert told[-1] == (3, 3)
    assert [layer.layer for layer in found.layers] == [0, 1, 2]
    assert all(len(a.words) == 5 for layer in found.layers for a in layer.added)
    some = rotation(*map(Weights, folders), pair.tokenizers["tuned"], settings=SMALL, layers=[2, 1])
    assert some.rows() == [row for row in found.rows() if row["layer"] > 0]


def test_planted_concept_is_what_the_tuning_added(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*folders)
    with pair.model("base") as base, torch.no_grad():
        tuned = tiny.tuned_copy(base, size=0.0)
        ids = [
            pair.tokenizers["tuned"].encode(f" {w}", add_special_tokens=False)[-1] for w in ["dog"]
        ]
        word = pair.tokenizers["tuned"].decode(ids).strip()
        concept = torch.nn.functional.normalize(architectures.unembedding(tuned)[ids[0]], dim=0)
        strength = torch.randn(48, generator=torch.Generator().manual_seed(0))
        # Half of it is the same for all neurons: centring would lose that.
        architectures.layers(tuned)[1].mlp.down_proj.weight += torch.outer(concept, strength + 1)
        found = rotation(Weights(base), Weights(tuned), pair.tokenizers["tuned"], settings=SMALL)
    assert [bool(layer.added) for layer in found.layers] == [False, True, False]
    first, second = found.layers[1].added
    assert first.share > 1 - 1e-9 > second.share
    assert (first.words[0][0], abs(first.words[0][1])) == (word, pytest.approx(1.0, abs=1e-5))
    values = architectures.value_vectors(base, 1)
    expected = torch.linalg.norm(strength + 1) / torch.linalg.norm(values)
    assert found.layers[1].difference == pytest.approx(float(expected), rel=1e-5)


def test_table_and_figure(pair: Pair) -> None:
    found = pair_rotation(pair, settings=SMALL)
    frame = found.to_frame()
    assert len(frame) == 3 * 6
    assert frame.attrs["components"] == 6
    row = found.rows([4])[1]
    layer, null = found.layers[1], found.null_angles[:, 3, :4].mean(axis=1)
    assert (row["layer"], row["k"]) == (1, 4)
    assert row["mean"] == pytest.approx(layer.angles[3, :4].mean(), rel=1e-6)
    assert row["largest"] == pytest.approx(layer.angles[3, :4].max())
    assert row["null_mean"] == pytest.approx(null.mean(), rel=1e-6)
    assert row["null_sd"] == pytest.approx(null.std(ddof=1), rel=1e-4)
    assert row["mean"] < row["null_mean"]
    layout, caption = rotation_figure(found, 4).children
    drawn = {
        (glyph.glyph.y, tuple(glyph.data_source.data["angle"]))
        for fig in layout.children
        for glyph in fig.renderers
        if glyph.data_source.name == "rotation" and hasattr(glyph.glyph, "y")
    }
    shown = {"angle", "null", "inside", "own", "null_inside", "weights"}
    assert {name for name, _ in drawn} == shown
    assert {value[1] for _, value in drawn} == {row["mean"]}
    assert "the 4 principal angles" in caption.text
    assert "the 6 principal angles" in rotation_figure(found).children[1].text
    with pytest.raises(HeadIndexError, match="between 1 and 6"):
        rotation_figure(found, 7)


def test_bad_input(pair: Pair, folders: tuple[Path, Path], tmp_path: Path) -> None:
    for components in (33, 0):
        with pytest.raises(HeadIndexError, match="between 1 and 32"):
            pair_rotation(pair, settings=RotationSettings(components=components))
    for layers in ([3], [-1]):
        with pytest.raises(HeadIndexError, match="there is no layer"):
            rotation(*map(Weights, folders), layers=layers, settings=SMALL)
    with pytest.raises(ValueError, match="draw"):
        RotationSettings(draws=0)
    other = Weights(tiny.model("llama", intermediate_size=64))
    with pytest.raises(PairMismatchError, match="intermediate"):
        rotation(Weights(folders[0]), other, settings=SMALL)
    broken = tiny.model("llama")
    with torch.no_grad():
        architectures.layers(broken)[1].mlp.down_proj.weight[0, 0] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(NotFiniteError, match="layer 1 of 'broken'"):
        rotation(Weights(folders[0]), Weights(tmp_path / "broken"), settings=SMALL)


def test_can_be_interrupted(folders: tuple[Path, Path]) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == 1:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        rotation(*map(Weights, folders), settings=SMALL, report=stop)
