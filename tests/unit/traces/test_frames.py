"""Every block has a table, and the table has the block's numbers at their places."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from twinlens.contract import blocks
from twinlens.contract.blocks import BLOCKS
from twinlens.errors import UnknownBlockError
from twinlens.weights.head_words import HeadWords
from twinlens.weights.word_pairs import LayerPairs, WordPairs

from tests.support.made_up import MadeUpTrace, manifest

pd = pytest.importorskip("pandas")


@pytest.mark.parametrize("name", [name for name, block in BLOCKS.items() if not block.page])
def test_every_block_has_a_table(name, trace):
    block = BLOCKS[name]
    key = next(itertools.islice(block.every(trace.manifest), 1, None), None) or next(
        iter(block.every(trace.manifest)), None
    )
    key = key or block("dog")  # words are not listed
    value, table = trace.block(key), trace.frame(key)
    assert len(table)
    assert all(isinstance(column, str) for column in table.columns)
    if isinstance(value, np.ndarray):
        numbers = value[np.tri(*value.shape, dtype=bool)] if block.causal else value.ravel()
        np.testing.assert_array_equal(table["value"], numbers)
        assert not table.drop(columns="value").duplicated().any()


def test_rows_of_arrays_are_named_by_their_axes(trace):
    m = trace.manifest
    table = trace.frame(blocks.head_instruction("base"))
    assert list(table) == ["position", "token", "layer", "head", "value"]
    row = table[(table.position == 17) & (table["layer"] == 2) & (table["head"] == 5)].iloc[0]
    assert row.value == trace.array(blocks.head_instruction("base"))[17, 2, 5]
    assert row.token == m.answers["base"].tokens[17 - m.prompt_length].text
    pattern = trace.attention("tuned", 1, 2).to_frame()
    assert (pattern.query_position >= pattern.key_position).all()
    row = pattern[(pattern.query_position == 9) & (pattern.key_position == 4)].iloc[0]
    assert row.value == trace.attention("tuned", 1, 2)[9, 4]
    assert (row.query_token, row.key_token) == (m.prompt_tokens[9].text, m.prompt_tokens[4].text)
    shift = trace.shift().to_frame()
    assert sorted(set(shift["layer"])) == [-1, 0, 1, 2, 3]
    assert set(trace.frame(blocks.head_circuits())["measure"]) >= {"qk_cosine", "ov_difference"}


def test_tables_of_saliency_by_key_and_by_accessor_are_the_same(trace):
    method = "gradient_x_input"
    by_key = trace.frame(blocks.saliency("tuned", method))
    pd.testing.assert_frame_equal(trace.saliency("tuned", method).to_frame(), by_key)


def test_rows_of_records(trace):
    lens = trace.lens("tuned", 18).to_frame()
    assert list(lens["layer"]) == [-1, 0, 1, 2, 3]
    assert list(lens["logprob"]) == [
        row["logprob"] for row in trace.lens("tuned", 18).value["layers"]
    ]
    components = trace.components(2).to_frame()
    assert list(components["component"]) == list(range(6))
    assert list(components["tuned_index"]) == [
        row["tuned"]["index"] for row in trace.components(2).value
    ]
    rivals = trace.alternatives("base").to_frame()
    assert rivals.groupby("answer_position")["rank"].max().tolist() == [5] * 5
    curve = trace.deletion("tuned")
    assert list(curve.to_frame()["most"]) == curve.most
    agreement = trace.faithfulness("tuned")
    assert agreement.to_frame().to_dict("records") == [agreement.to_json()]


@pytest.mark.parametrize(
    ("accessor", "shape"),
    [
        (lambda t: t.head_change(), (4, 8)),
        (lambda t: t.head_effect("base"), (4, 8)),
        (lambda t: t.head_effect("base", 1, exact="zero"), (4, 8)),
        (lambda t: t.head_measure("received", "base"), (16, 4, 8)),
        (lambda t: t.shift("attention"), (21, 4)),
        (lambda t: t.disagreement(), (5,)),
        (lambda t: t.logprob("tuned"), (5,)),
        (lambda t: t.neuron_effect("tuned"), (4, 64)),
    ],
)
def test_accessors_give_arrays_that_know_their_axes(accessor, shape, trace):
    array = accessor(trace)
    assert isinstance(array, np.ndarray)
    assert array.shape == shape
    assert len(array.to_frame()) == array.size
    assert len(repr(array)) < 120
    for derived in (array[0], array + 1, array.astype(float)):
        assert not hasattr(derived, "to_frame") or derived._labels is None
    with pytest.raises(ValueError, match="its axes are not known"):
        array.astype(float).to_frame()
    assert type(array[0:1]) is type(array + 1) is np.ndarray


@pytest.mark.parametrize(
    ("accessor", "rows"),
    [
        (lambda t: t.neurons(), None),
        (lambda t: t.neurons(1, 3), None),
        (lambda t: t.rotation(), 4),
        (lambda t: t.template_effects(), 5),
        (lambda t: t.answer_steps(), 5),
        (lambda t: t.hidden_segments(), None),
        (lambda t: t.carried(), 1),
        (lambda t: t.carried(2), 1),
        (lambda t: t.lens_table("base"), 50),
        (lambda t: t.handover(), 50),
    ],
)
def test_accessors_give_records(accessor, rows, trace):
    records = accessor(trace)
    assert len(records.to_frame()) == (rows or len(records.value)) > 0
    assert len(repr(records)) < 120


def test_wrong_names_name_the_choices(trace):
    with pytest.raises(UnknownBlockError, match="no part of a layer 'mlp': one of attention"):
        trace.shift("mlp")
    with pytest.raises(UnknownBlockError, match="no measure of heads 'x': one of instruction"):
        trace.head_measure("x", "base")
    with pytest.raises(UnknownBlockError, match="no model 'Base': one of base, tuned"):
        trace.lens("Base", 3)


def test_text_forms_are_short():
    long = MadeUpTrace(manifest(layers=8))
    for shown in (long, long.manifest, long.saliency("base"), long.lens("base", 18)):
        assert len(repr(shown)) < 120
    assert repr(long) == (
        "<MadeUpTrace of tiny-base | tiny-tuned: 16 prompt tokens, 5 and 5 answer tokens>"
    )


def test_text_forms_of_word_pairs_hold_no_arrays():
    layer = LayerPairs(*[np.zeros((4, 4))] * 7)
    pairs = WordPairs("tiny", ("dog",) * 900, {0: layer}, {"top": 3})
    assert repr(HeadWords(pairs, pairs)) == (
        "HeadWords(base=WordPairs(model='tiny'), tuned=WordPairs(model='tiny'))"
    )


def test_without_pandas_it_says_what_to_install(trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"twinlens\[frames\]"):
        trace.head_change().to_frame()
