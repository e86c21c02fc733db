"""The table of blocks: keys and their reading, enumeration, shapes, documentation."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twinlens.contract import blocks, lookup
from twinlens.contract.block import PARAMETERS
from twinlens.contract.blocks import BLOCKS
from twinlens.errors import UnknownBlockError

from tests.support.forms import has_form
from tests.support.made_up import MadeUpTrace, manifest

OF_TRACES = [made for made in BLOCKS.values() if not made.page]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("made", OF_TRACES, ids=lambda made: made.name)
def test_every_key_is_read_as_it_was_built(made, shared):
    trace = manifest(shared=shared)
    for key in list(made.every(trace))[:200]:
        asked = lookup.read(key, trace)
        assert asked.block is made
        if "unit" not in asked.values:
            assert made(**asked.values) == key


@pytest.mark.parametrize("made", OF_TRACES, ids=lambda made: made.name)
def test_the_made_up_trace_has_values_of_the_promised_form(made):
    trace = MadeUpTrace()
    keys = list(trace.some(made))[:3] or list(made.every(trace.manifest))[:3]
    for key in keys or [made("dog")]:
        asked, value = lookup.read(key, trace.manifest), trace.block(key)
        if made.dtype is None:
            assert has_form(value, made.form), (key, value)
        else:
            assert value.shape == lookup.shape(asked, trace.manifest), key
            assert value.dtype == np.dtype(made.dtype), key


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("attention/base/3/12", "there is no head 12 in layer 3: 0 to 7"),
        ("attention/Base/3/1", "there is no model 'Base': one of base, tuned"),
        ("attention/base/9/1", "there is no layer 9: 0 to 3"),
        ("attention/base/-1/1", "there is no layer '-1': 0 to 3"),
        ("saliency/base/gradient", "there is no method 'gradient': one of gradient_x_input, occl"),
        ("saliency/base/occlusion/99", "there is no answer token 99 of base: 0 to 4"),
        ("heads/ablation/base/none/answer", "there is no replacement of a head 'none': one of"),
        ("heads/write/base/1/component:6", "there is no component 6 in layer 1: 0 to 5"),
        ("heads/write/base/1/head:6", "there is no unit 'head:6'"),
        ("groups/token", "there is no grouping 'token': one of word, sentence, segment"),
        ("neurons/all/99", "there is no token 99: 0 to 20"),
        ("heads/magic", "there is no block 'heads/magic': known are heads/change, "),
        ("asset/bokehjs", "there is no block 'asset/bokehjs'"),
        ("", "there is no block ''"),
        ("concepts/find/", "there is no word to find"),
        ("update/dial/head:3", "there is no part of the update 'head:3': it is layer:L, kind:K"),
        ("update/dial/layer:4", "there is no layer 4: 0 to 3"),
    ],
)
def test_one_sentence_names_the_choices(key, sentence):
    with pytest.raises(UnknownBlockError) as caught:
        lookup.read(key, manifest())
    assert str(caught.value).startswith(sentence)


@given(st.text())
def test_any_text_is_a_key_or_an_error_of_ours(text):
    for key in (text, f"attention/{text}", f"heads/write/base/0/{text}", f"saliency/base/{text}/0"):
        with suppress(UnknownBlockError):
            asked = lookup.read(key, manifest())
            assert set(asked.values) == set(asked.block.parameters)


def test_what_is_written_out_goes_before_parameters():
    m = manifest()
    assert lookup.read("components/change", m).block is blocks.component_change
    assert lookup.read("word_pairs/find/1/2", m).values == {"word": "1/2"}
    assert lookup.read("neurons/effect/base/answer", m).values["answer_token"] is None
    assert lookup.read("activations/tuned/1/base_components", m).values == {"layer": 1}


def test_what_needs_one_answer_says_so():
    own = manifest(shared=False)
    assert list(blocks.disagreement.every(own)) == []
    with pytest.raises(UnknownBlockError, match=r"one answer read by both.*response='shared'"):
        lookup.read("disagreement", own)


def test_flags():
    assert [made.name for made in BLOCKS.values() if made.causal] == ["attention"]
    assert lookup.is_causal("attention/base/0/0")
    assert not lookup.is_causal("heads/change")
    assert lookup.is_exact("heads/effect/base/answer")
    assert not lookup.is_exact("attention/base/0/0")


def test_an_array_of_tuned_has_a_twin():
    assert lookup.twin("attention/tuned/1/2") == "attention/base/1/2"
    assert lookup.twin("neurons/effect/tuned/answer") == "neurons/effect/base/answer"
    assert lookup.twin("activations/tuned/1/base_components") == "activations/base/1/components"
    assert lookup.twin("attention/base/1/2") is None
    assert lookup.twin("lens/tuned/1") is None
    assert lookup.twin("heads/change") is None
    assert {made.name for made in BLOCKS.values() if made.grows} == {
        "saliency_so_far",
        "faithfulness",
        "head_ablation_so_far",
    }


def test_a_declaration_says_what_its_pattern_says():
    with pytest.raises(TypeError, match="not declared as its pattern says"):

        @blocks.block("attention/{side}/{layer}", "f32 [T]")
        def wrong(layer, side):
            """In another order."""

    assert "wrong" not in BLOCKS


def test_every_block_is_documented():
    text = lookup.documentation()
    for made in BLOCKS.values():
        assert f"`{made.pattern.replace('|', chr(92) + '|')}`" in text
        assert made.meaning.endswith((".", ")"))
        assert set(made.parameters) <= set(PARAMETERS)
