"""Marked parts of a prompt."""

from __future__ import annotations

import json

import pytest
from twinlens.contract.manifest import Token
from twinlens.errors import PromptError
from twinlens.studies.data.row_forms import (
    find_span,
    parse_annotation,
    sentences,
    widen,
)
from twinlens.traces.marks import span_tokens

from tests.unit.studies.published_data import PUBLISHED, needs_published

PROMPT = "Be kind. Answer in one line: why?\nInput: A small dog."


def texts(spans):
    return [PROMPT[start:end] for start, end in spans]


def test_annotation_is_split_into_fragments_and_context():
    assert parse_annotation("a|||b &&&c|||d") == (["a", "b "], ["c", "d"])
    assert parse_annotation("a") == (["a"], [])


def test_sentences_end_at_stops_and_lines():
    assert texts(sentences(PROMPT)) == [
        "Be kind.",
        "Answer in one line:",
        "why?",
        "Input:",
        "A small dog.",
    ]


def test_fragments_are_widened_to_sentences():
    assert texts(widen(PROMPT, ["small", "one line"])) == ["Answer in one line:", "A small dog."]


def test_a_leading_input_label_is_cut_off():
    prompt = "Do it.\nInput:a b"
    assert [prompt[start:end] for start, end in widen(prompt, ["Input:a"])] == ["a b"]


def test_the_published_quirk_adds_the_first_sentence():
    assert texts(widen(PROMPT, ["Input: "])) == ["Be kind."]
    assert widen(PROMPT, ["Input: "], published_quirk=False) == []


def test_text_that_is_not_there_is_named():
    with pytest.raises(PromptError, match="'cat' is marked"):
        widen(PROMPT, ["cat"])
    with pytest.raises(PromptError, match="'cat' is marked"):
        find_span(PROMPT, "cat")


def test_tokens_of_a_span_lose_blanks_and_quotes_at_the_ends():
    pieces = ["Say", ' "', "hi", " there", " ", "\n", "now"]
    tokens, start = [], 0
    for piece in pieces:
        tokens.append(Token(0, piece, start, start + len(piece)))
        start += len(piece)
    text = "".join(pieces)
    assert span_tokens(text, tokens, [(3, 14)]) == [2, 3]
    assert span_tokens(text, tokens, [(0, 1), (8, 9)]) == [0, 3]
    assert span_tokens(text, tokens, [(13, 14)]) == []
    assert span_tokens(text, tokens, [(5, 17)]) == [2, 3, 4, 5, 6]  # blanks in between count
    assert span_tokens(text, tokens, [(0, 4)]) == [0]  # of ' "' it has the blank only


@needs_published
@pytest.mark.parametrize("model", ["llama-7b", "vicuna-7b"])
def test_published_spans_and_tokens(model):
    lines = (PUBLISHED / f"{model}.jsonl").read_text().splitlines()
    assert len(lines) == 40
    for record in map(json.loads, lines):
        prompt = record["prompt"]
        marked = [prompt[start:end] for start, end in record["instruction_fragments"]]
        spans = widen(prompt, marked)
        assert spans == sorted(tuple(span) for span in record["instruction_spans"])
        tokens = [
            Token(-1, piece.replace("\u2581", " ").replace("<0x0A>", "\n"), start, end)
            for piece, (start, end) in zip(
                record["input_tokens"], record["input_offsets"], strict=True
            )
        ]
        assert span_tokens(prompt, tokens, spans) == record["instruction_token_indices"]
