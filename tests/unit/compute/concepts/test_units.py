"""Components against scikit-learn and a worked example; words of directions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import special_ortho_group
from sklearn.decomposition import PCA
from twinlens.compute.concepts.components import Basis, principal_components
from twinlens.compute.concepts.units import doubts_of, match_components, separable, strongest
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.words import word_rows as word_rows_module
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.contract.wire import Array

from tests.support import tiny
from tests.support.places import DATA

EXAMPLE = json.loads((DATA / "worked_examples.json").read_text(encoding="utf-8"))["ffn"]


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (30, 30)])
def test_components_equal_scikit_learn(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=shape) @ np.diag(np.linspace(1, 4, shape[1])) + 2.0
    ours = principal_components(values, count=8)
    theirs = PCA(n_components=8, svd_solver="full").fit(values)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-8)
    cosines = (ours.directions * theirs.components_).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-8)
    largest = np.abs(ours.directions).argmax(axis=1)
    assert (ours.directions[np.arange(8), largest] > 0).all()


def test_never_more_components_than_the_rank_allows() -> None:
    assert principal_components(np.random.default_rng(0).normal(size=(6, 9))).directions.shape == (
        5,
        9,
    )
    assert principal_components(np.random.default_rng(0).normal(size=(9, 6))).directions.shape == (
        6,
        6,
    )


def test_worked_example() -> None:
    basis = principal_components(np.array(EXAMPLE["down_proj"]).T)
    np.testing.assert_allclose(basis.explained, EXAMPLE["explained_variance_ratio"], atol=1e-6)
    rows = WordRows(EXAMPLE["words"], torch.tensor(EXAMPLE["output_embeddings"]), "example")
    found = rows.nearest(torch.from_numpy(basis.directions), 15)
    assert len(EXAMPLE["concepts"]) > 1
    for expected in EXAMPLE["concepts"]:
        words = found[expected["rank"] - 1][: len(expected["top_words"])]
        assert [word for word, _ in words] == expected["top_words"]
        np.testing.assert_allclose(
            [abs(score) for _, score in words], expected["top_scores"], atol=2e-6
        )


def test_matching_undoes_a_permutation_and_signs() -> None:
    rng = np.random.default_rng(5)
    base = special_ortho_group.rvs(12, random_state=5)[:8]
    order, signs = rng.permutation(8), rng.choice([-1.0, 1.0], size=8)
    found = match_components(base, (base * signs[:, None])[order])
    np.testing.assert_array_equal(order[found.index], np.arange(8))
    np.testing.assert_array_equal(found.sign, signs)
    np.testing.assert_allclose(found.cosine, 1.0)


def test_matching_is_optimal_not_greedy() -> None:
    # Greedy takes 0.9 first and is left with 0.0; the best sum is 0.8 + 0.8.
    base = np.eye(2)
    tuned = np.array([[0.9, 0.8], [0.8, 0.0]])
    assert match_components(base, tuned).index.tolist() == [1, 0]


def test_a_component_is_separable_where_samples_drawn_anew_give_it_again() -> None:
    rng = np.random.default_rng(3)
    spread = np.array([9.0, 4.0, 1.0, 0.99, 0.3])
    kept = []
    for _ in range(30):
        values = rng.normal(size=(400, 5)) * np.sqrt(spread)
        directions = np.linalg.eigh(values.T @ values)[1][:, ::-1]
        kept.append(np.abs(np.diag(directions)))
    again = np.mean(kept, axis=0) > 0.95
    assert separable(spread, 400).tolist() == again.tolist() == [True, True, False, False, True]


def test_doubts_say_why_a_component_says_little() -> None:
    base = Basis(np.eye(4)[:3], np.array([0.5, 0.1, 0.0995]))
    turned = np.array([[0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    tuned = Basis(turned, np.array([0.5, 0.2, 0.1]))
    match = match_components(base.directions, tuned.directions)
    # The first is 53 degrees from what it is matched with, the others are as large as each other.
    found = doubts_of(match, base, tuned, 1000)
    assert found[1:] == ["not separable"] * 2
    assert (
        doubts_of(match_components(np.eye(4)[:3], np.eye(4)[:3]), tuned, tuned, 10**6) == [""] * 3
    )
    assert found[0] == "weak match"


def test_turned_components_report_their_angle(pair: Pair) -> None:
    block = pair.concepts.components(1)
    for side in ("base", "tuned"):
        with pair.model(side) as model:  # type: ignore[arg-type]
            values = architectures.value_vectors(model, 1).numpy()
        theirs = PCA(n_components=32, svd_solver="full").fit(values.astype(np.float64))
        for entry in block[:5]:
            k = block.index(entry) if side == "base" else entry["tuned"]["index"]
            share = theirs.explained_variance_ratio_[k]
            assert entry[side]["explained"] == pytest.approx(share, rel=1e-6)
    directions = [pair.concepts.directions(side, 1) for side in ("base", "tuned")]  # type: ignore[arg-type]
    cosines = (directions[0] * directions[1]).sum(axis=1)
    assert [entry["cosine"] for entry in block] == pytest.approx(cosines.tolist())
    assert (cosines >= 0).all()
    assert [entry["angle"] for entry in block] == pytest.approx(np.degrees(np.arccos(cosines)))
    assert pair.concepts.change()[1] == pytest.approx(np.mean(1 - cosines), rel=1e-5)
    assert sorted(entry["tuned"]["index"] for entry in block) == list(range(32))


def test_words_of_both_sides_share_one_sign(pair: Pair) -> None:
    for k, entry in enumerate(pair.concepts.components(0)[:6]):
        for side in ("base", "tuned"):
            words = entry[side]["words"]
            assert words
            scores = [abs(score) for _, score in words]
            assert scores == sorted(scores, reverse=True)
            direction = torch.from_numpy(pair.concepts.directions(side, 0)[k]).float()  # type: ignore[arg-type]
            with pair.model(side) as model:  # type: ignore[arg-type]
                rows = architectures.unembedding(model)
            made = pair.tokenizers[side]  # type: ignore[index]
            for word, score in words[:5]:
                candidates = [
                    i for i in range(len(made)) if made.decode([i]).strip() == word and i > 1
                ]
                cosines = torch.cosine_similarity(rows[candidates], direction[None]).tolist()
                assert max(cosines, key=abs) == pytest.approx(score, abs=1e-5)


def test_vocabulary_keeps_words_only() -> None:
    words = word_rows(tiny.tokenizer(), torch.ones(340, 2)).words
    assert "Rewrite" in words
    assert "sentence" in words
    kept = {word for word in words if word}
    assert "<s>" not in kept
    assert "." not in kept
    assert all(word == word.strip() and "\ufffd" not in word for word in kept)


def test_tokens_that_differ_in_blanks_are_one_word() -> None:
    made = torch.tensor([[0.6, 0.8], [-0.8, 0.6], [1.0, 0.0], [0.3, 5.0]])
    found = WordRows(["dog", "dog", "", "cat"], made, "example").nearest(
        torch.tensor([[3.0, 0]]), 5
    )
    assert [word for word, _ in found[0]] == ["dog", "cat"]
    assert [score for _, score in found[0]] == pytest.approx(
        [-0.8, 0.3 / np.hypot(0.3, 5)], abs=1e-6
    )


@pytest.mark.parametrize("count", [5, 50])
def test_nearest_words_are_those_of_all_cosines(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parts of the words, and groups of directions, that do not come out even.
    monkeypatch.setattr(word_rows_module, "_ROWS", 100)
    monkeypatch.setattr(word_rows_module, "_COSINES", 40 * 1007)
    torch.manual_seed(5)
    words = [f"word {row}" if row % 7 else "" for row in range(1007)]
    made, directions = torch.randn(1007, 6), torch.randn(90, 6)
    cosines = torch.cosine_similarity(directions[:, None], made, dim=2)
    cosines[:, ::7] = 0
    best = cosines.abs().topk(count).indices
    rows = WordRows(words, made, "example")
    torch.testing.assert_close(rows.cosines(directions), cosines, atol=1e-6, rtol=0)
    for k, listed in enumerate(rows.nearest(directions, count)):
        assert [word for word, _ in listed] == [words[row] for row in best[k].tolist()]
        expected = cosines[k, best[k]].tolist()
        assert [cosine for _, cosine in listed] == pytest.approx(expected, abs=2e-6)


def test_neuron_card(pair: Pair) -> None:
    card = pair.concepts.neurons([(2, 7)])[0]
    vectors = []
    for side in ("base", "tuned"):
        with pair.model(side) as model:  # type: ignore[arg-type]
            vectors.append(architectures.feed_forward_out(model, 2).weight[:, 7].detach())
        assert card[side]["norm"] == pytest.approx(float(vectors[-1].norm()), rel=1e-6)
    expected = float(torch.cosine_similarity(*vectors, dim=0))
    assert card["cosine"] == pytest.approx(expected, abs=1e-6)
    assert card["cosine"] < 0.9999


def test_neurons_are_the_same_in_any_company(pair: Pair) -> None:
    places = [(neuron % 3, neuron) for neuron in range(40)]
    together = pair.concepts.neurons(places)
    assert [pair.concepts.neurons([place])[0] for place in places] == together


def test_strongest_of_several_rankings() -> None:
    first, second = np.array([5.0, 0, 4, 0, 1]), np.array([0.0, 9, 0, 1, 0])
    assert strongest(first, second, each=2) == [1, 0, 2, 3]


def test_sequential_loads_each_model_once(
    folders: tuple[Path, Path], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load_pair(*folders, memory="sequential")
    loads: list[str] = []
    load = alone.model
    monkeypatch.setattr(alone, "model", lambda side: (loads.append(side), load(side))[1])
    for layer in range(3):
        assert alone.concepts.components(layer) == pair.concepts.components(layer)
    switches = [b for a, b in zip(["", *loads], loads, strict=False) if a != b]
    assert len(switches) <= 4, "two for the components, two for their words"


@given(arrays(np.float32, st.integers(1, 40), elements=st.integers(0, 5)), st.integers(1, 9))
def test_strongest_are_those_of_a_full_sort(values: Array, each: int) -> None:
    expected = np.argsort(-values, kind="stable")[:each].tolist()
    assert strongest(values, each=each) == expected
