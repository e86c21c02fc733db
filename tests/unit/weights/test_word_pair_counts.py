"""Counting word pairs and comparing them between two models."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from twinlens.errors import HeadIndexError, PairMismatchError, VocabularyError
from twinlens.figures.paper_figures import rise_figure
from twinlens.weights.word_pair_table import rise_shares, rise_table
from twinlens.weights.word_pairs import LayerPairs, WordPairs, overlap, pair_changes, word_changes

from tests.support.places import DATA

EXAMPLE = json.loads((DATA / "worked_examples.json").read_text())["head_aggregation"]
HEADS = {"L0H0": (0, 0), "L0H1": (0, 1), "L1H0": (1, 0), "L1H1": (1, 1)}
WORDS = ("write", "letter", "run", "code", "find", "key", "go", "way", "Poem", "essay")


def _pairs(neurons_by_head, words=WORDS, model="made up") -> WordPairs:
    """Word pairs from ``{(layer, head): [["a|b", ...] per neuron]}``, queries first."""
    place = {word.lower(): number for number, word in enumerate(words)}
    size = max(len(neurons) for neurons in neurons_by_head.values())
    layers = {}
    for layer in sorted({key[0] for key in neurons_by_head}):
        of_layer = [neurons_by_head[key] for key in sorted(neurons_by_head) if key[0] == layer]
        flat = [neuron for head in of_layer for neuron in head + [[]] * (size - len(head))]
        ids = [[place[word] for word in pair.split("|")] for neuron in flat for pair in neuron]
        query, key = np.array(ids, np.uint16).reshape(-1, 2).T
        layers[layer] = LayerPairs(
            energy=np.zeros((len(of_layer), size)),
            top_query=np.zeros((len(of_layer), size, 1), np.uint16),
            top_key=np.zeros((len(of_layer), size, 1), np.uint16),
            offsets=np.cumsum([0, *map(len, flat)]),
            query=query,
            key=key,
            cosine=np.ones(len(query)),
        )
    return WordPairs(model, tuple(words), layers, {"top": 1})


BASE, TUNED = (
    _pairs({HEADS[name]: neurons for name, neurons in EXAMPLE[side].items()}, model=side)
    for side in ("pre", "tuned")
)


@pytest.mark.parametrize(("side", "pairs"), [("pre", BASE), ("tuned", TUNED)])
def test_worked_example_counts(side: str, pairs: WordPairs) -> None:
    counts = pairs.counts(WORDS)
    for name, (layer, head) in HEADS.items():
        expected = EXAMPLE["per_head"][name]
        kept = {
            frozenset(pairs.words[word].lower() for word in divmod(int(pair), len(WORDS)))
            for pair in pairs.counted[layer][head][0]
        }
        assert kept == {frozenset(pair.split("|")) for pair in expected[f"kept_{side}"]}
        found = {
            word.lower(): int(number)
            for word, number in zip(WORDS, counts[layer, head], strict=True)
            if number
        }
        assert found == expected[f"counts_{side}"]


def test_worked_example_shares() -> None:
    lists = {"instruction": ("write", "find", "absent"), "general": ("go", "run")}
    table = rise_table(BASE, TUNED, lists, group=8)
    for name in lists:
        words = list(EXAMPLE[f"{name}_words"])
        shares = rise_shares(BASE.counts(words), TUNED.counts(words))
        np.testing.assert_array_equal(shares, list(EXAMPLE[f"{name}_words"].values()))
    assert [row["share"] for row in table.rows] == [
        EXAMPLE["instruction_mean"],
        EXAMPLE["general_mean"],
    ]
    assert [row["absent"] for row in table.rows] == [1, 0]
    assert [row["words"] for row in table.rows] == [2, 2]
    assert table.rows[0]["layers"] == "0-1"


def test_a_pair_has_no_direction_and_counts_once_per_neuron() -> None:
    pairs = _pairs(
        {
            (0, 0): [["write|letter", "letter|write"], ["run|code"]],  # one neuron only
            (0, 1): [["write|letter"], ["letter|write"]],  # two neurons
        }
    )
    assert pairs.counts(["letter", "WRITE", "poem"])[0].tolist() == [[0, 0, 0], [1, 1, 0]]
    assert [head[1].tolist() for head in pairs.counted[0]] == [[], [2]]


def test_counts_equal_counting_by_hand() -> None:
    rng = np.random.default_rng(0)
    words = tuple(f"w{number}" for number in range(30))
    heads = {
        (layer, head): [
            [
                "|".join(words[word] for word in rng.choice(30, 2, replace=False))
                for _ in range(rng.integers(0, 40))
            ]
            for _ in range(5)
        ]
        for layer in (0, 3)
        for head in range(4)
    }
    pairs = _pairs(heads, words)
    expected = np.zeros((2, 4, 30), int)
    for (layer, head), neurons in heads.items():
        seen = Counter(
            pair for neuron in neurons for pair in {frozenset(p.split("|")) for p in neuron}
        )
        for pair, number in seen.items():
            if number > 1:
                for word in pair:
                    expected[layer // 3, head, words.index(word)] += 1
    np.testing.assert_array_equal(pairs.counts(words), expected)
    assert expected.sum() > 100


def test_gained_kept_and_lost() -> None:
    assert pair_changes(BASE, TUNED, 0, 0) == [
        {"word": "write", "partner": "letter", "base": 2, "tuned": 2, "change": "kept"},
        {"word": "write", "partner": "Poem", "base": 0, "tuned": 2, "change": "gained"},
        {"word": "run", "partner": "code", "base": 2, "tuned": 0, "change": "lost"},
        {"word": "find", "partner": "key", "base": 0, "tuned": 2, "change": "gained"},
    ]
    np.testing.assert_allclose(overlap(BASE, TUNED), [[1 / 4, 2 / 3], [0, 0]])
    np.testing.assert_array_equal(
        np.isnan(overlap(_pairs({(0, 0): [[]]}), _pairs({(0, 0): [[]]}))), True
    )
    with pytest.raises(HeadIndexError, match="no word pairs of layer 0, head 2"):
        pair_changes(BASE, TUNED, 0, 2)


def test_which_heads_gained_a_word() -> None:
    assert word_changes(BASE, TUNED, "Write") == [
        {"layer": 0, "head": 0, "base": 1, "tuned": 2, "gained": ["Poem"], "lost": []}
    ]
    changes = word_changes(BASE, TUNED, "find")
    assert [(row["layer"], row["head"], row["tuned"] - row["base"]) for row in changes] == [
        (0, 0, 1),
        (0, 1, 1),
        (1, 0, -1),
    ]
    assert changes[2]["lost"] == ["key"]
    with pytest.raises(VocabularyError, match="'horse' is not among the 10 words"):
        word_changes(BASE, TUNED, "horse")


def test_shares_leave_out_heads_and_words_that_did_not_change() -> None:
    base = np.array([[1, 0, 2], [1, 3, 2]])
    tuned = np.array([[2, 0, 1], [1, 3, 4]])
    np.testing.assert_array_equal(rise_shares(base, tuned), [1.0, np.nan, 0.5])


def _random_pair(layers: int):
    rng = np.random.default_rng(5)
    words = tuple(f"w{number}" for number in range(24))

    def draw():
        return _pairs(
            {
                (layer, head): [
                    [
                        "|".join(words[w] for w in rng.choice(24, 2, replace=False))
                        for _ in range(30)
                    ]
                    for _ in range(4)
                ]
                for layer in range(layers)
                for head in range(3)
            },
            words,
        )

    return draw(), draw(), words


def test_table_groups_layers_and_tests_the_lists() -> None:
    base, tuned, words = _random_pair(5)
    lists = {"first": words[:10], "second": words[10:], "third": words[5:15]}
    table = rise_table(base, tuned, lists, group=2)
    frame = table.to_frame()
    assert frame["layers"].drop_duplicates().tolist() == ["0-1", "2-3", "4", "0-4"]
    assert len(frame) == 12
    assert frame.attrs["hypothesis"] == table.hypothesis
    assert "'first' as for 'second' and for 'third'" in table.hypothesis
    assert "two-sided Welch t" in table.hypothesis
    assert table.parameters == {"top": 1, "group": 2}
    # Layers 2 and 3, second list, by hand.
    shares = {
        name: rise_shares(base.counts(lists[name])[2:4], tuned.counts(lists[name])[2:4])
        for name in ("first", "second")
    }
    first, second = (values[~np.isnan(values)] for values in shares.values())
    variances = first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)
    t = (first.mean() - second.mean()) / np.sqrt(sum(variances))
    df = sum(variances) ** 2 / (
        variances[0] ** 2 / (len(first) - 1) + variances[1] ** 2 / (len(second) - 1)
    )
    row = next(r for r in table.rows if r["layers"] == "2-3" and r["list"] == "second")
    np.testing.assert_allclose(
        [row["share"], row["sd"], row["t"], row["df"], row["p"]],
        [second.mean(), second.std(ddof=1), t, df, 2 * stats.t.sf(abs(t), df)],
    )
    assert table.rows[0]["p"] is None


def test_table_without_anything_to_test() -> None:
    base, _, words = _random_pair(2)
    table = rise_table(base, base, {"a": words[:3], "b": words[3:]}, group=1)
    assert all(row["share"] is None and row["p"] is None for row in table.rows)
    assert rise_table(base, base, {"a": words}).hypothesis.startswith("nothing is tested")
    with pytest.raises(ValueError, match="at least one word list"):
        rise_table(base, base, {})


def test_figure_shows_every_share_with_its_error() -> None:
    from bokeh.embed import json_item
    from bokeh.models import ColumnDataSource

    base, tuned, words = _random_pair(5)
    table = rise_table(base, tuned, {"first": words[:10], "<b>second": words[10:]}, group=2)
    figure = rise_figure(table)
    sources = [source.data for source in figure.select({"type": ColumnDataSource})]
    sources = [data for data in sources if "share" in data]
    shown = sorted(pair for data in sources for pair in zip(data["x"], data["share"], strict=True))
    assert shown == sorted(((row["layers"], row["list"]), row["share"]) for row in table.rows)
    data = next(data for data in sources if data["x"][0][1] == "first")
    row = table.rows[0]
    np.testing.assert_allclose(data["high"][0] - data["share"][0], row["sd"] / row["words"] ** 0.5)
    json.dumps(json_item(figure), allow_nan=False)


def test_pairs_found_in_different_ways_are_not_compared() -> None:
    other = dataclasses.replace(TUNED, parameters={"top": 2})
    for compare in (
        overlap,
        lambda a, b: pair_changes(a, b, 0, 0),
        lambda a, b: word_changes(a, b, "go"),
    ):
        with pytest.raises(PairMismatchError, match="different words, layers or settings"):
            compare(BASE, other)
    with pytest.raises(PairMismatchError):
        rise_table(BASE, dataclasses.replace(TUNED, words=WORDS[::-1]), {"a": ["go"]})


def test_neurons_are_spelled_out() -> None:
    layer = LayerPairs(
        energy=np.array([[1.0, 5.0], [2.0, 1.0]]),
        top_query=np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]]], np.uint16),
        top_key=np.array([[[1, 0], [8, 9]]], np.uint16),
        offsets=np.array([0, 1, 3, 3, 4]),
        query=np.array([0, 2, 3, 6], np.uint16),
        key=np.array([1, 8, 9, 9], np.uint16),
        cosine=np.array([0.9, 0.8, 0.7, 0.6]),
    )
    pairs = WordPairs("made up", WORDS, {4: layer}, {})
    first, second = pairs.neurons(4, 0)
    assert (first.dim, first.energy) == (1, 5.0)
    assert first.top_query == ("run", "code")
    assert first.top_key == ("Poem", "essay")
    assert first.pairs == (("run", "Poem", 0.8), ("code", "essay", 0.7))
    assert second.pairs == (("write", "letter", 0.9),)
    assert [neuron.pairs for neuron in pairs.neurons(4, 1)] == [(), (("go", "essay", 0.6),)]
