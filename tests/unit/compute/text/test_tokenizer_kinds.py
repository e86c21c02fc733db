"""What holds for every kind of tokenizer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast
from twinlens.compute.text.answers import answer_tokens, context, encode_answer
from twinlens.compute.text.cutting import pieces
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract.manifest import Token

from tests.support import tiny
from tests.support.tokenizer_kinds import byte_level, kinds, sentencepiece, unloaded

LOSSLESS = [name for name in kinds() if name != "wordpiece"]
LETTERS = st.sampled_from(
    [*" \n.aNe", " city", " the", "the", "plain", "é", "東", "👩", "ing", "\t"]
)
TEXTS = st.lists(LETTERS, min_size=1, max_size=8).map("".join).filter(str.strip)


def apart(tokens: Sequence[Token], text: str) -> None:
    """No character in two tokens, and every one that is not blank in one."""
    assert all(0 <= t.start <= t.end <= len(text) for t in tokens)
    assert all(a.end <= b.start for a, b in itertools.pairwise(tokens))
    held = "".join(text[t.start : t.end] for t in tokens)
    assert held.split() == text.split()


def spelled(made: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return str(made.decode(ids, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("name", LOSSLESS)
@given(prompt=TEXTS, answer=TEXTS)
@settings(max_examples=40, deadline=None)
def test_prompt_and_answer_are_spelled_by_their_tokens(name: str, prompt: str, answer: str) -> None:
    made = kinds()[name]
    pair = unloaded(made)
    read = read_prompt(pair, prompt)
    assert read.ids == made.encode(prompt)
    apart([t for t in read.tokens if t.segment != "special"], prompt)
    ids = encode_answer(pair, read, answer)
    front, body = read.ids[: read.front], read.ids[read.front :]
    assert all(t.segment == "special" for t in read.tokens[: read.front])
    # Some kinds put a blank in front of a text, others take one away: of the prompt, not between.
    assert spelled(made, body).lstrip(" ") == prompt.lstrip(" ")
    assert spelled(made, [*body, *ids]) == spelled(made, body) + answer
    tokens, text = answer_tokens(made, ids, context(made, read.ids))
    assert text == answer
    apart(tokens, answer)
    assert front in ([], [made.bos_token_id])


@given(
    words=st.lists(st.sampled_from(["Name", "a", "city", "plain", "assistants"]), min_size=2),
    cut=st.integers(1, 30),
)
@settings(max_examples=40, deadline=None)
def test_word_pieces_go_on_with_a_word(words: list[str], cut: int) -> None:
    made = kinds()["wordpiece"]
    text = " ".join(words)
    assume(cut < len(text) and text[cut - 1] != " ")
    pair = unloaded(made)
    read = read_prompt(pair, text[:cut])
    apart(read.tokens, text[:cut])
    ids = encode_answer(pair, read, text[cut:])
    assert spelled(made, [*read.ids, *ids]) == text
    tokens, answer = answer_tokens(made, ids, context(made, read.ids))
    assert answer == text[cut:]
    apart(tokens, answer)
    assert "".join(t.text for t in (*read.tokens, *tokens)) == text


@pytest.mark.parametrize("name", ["first", "legacy", "always", "never", "unigram"])
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Name a city: ", "city"),
        ("Name a ci", "ty"),
        ("Name", " a"),
        ("Name ", " a"),
        ("東", "東"),
        ("Name<|im_end|>", "a"),
    ],
)
def test_given_answers_keep_their_characters(name: str, prompt: str, answer: str) -> None:
    made = kinds()[name]
    read = read_prompt(unloaded(made), prompt)
    ids = encode_answer(unloaded(made), read, answer)
    tokens, text = answer_tokens(made, ids, context(made, read.ids))
    assert text == answer
    assert "".join(answer[t.start : t.end] for t in tokens) == answer


def test_an_answer_is_cut_as_the_whole_text_is_where_that_is_possible() -> None:
    for name in LOSSLESS:
        made = kinds()[name]
        read = read_prompt(unloaded(made), "Name a city.")
        assert [*read.ids, *encode_answer(unloaded(made), read, " the city")] == made.encode(
            "Name a city. the city"
        ), name


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        # The blank that a text gets in front is a token of its own here: a blank, of no character.
        ("legacy", [" ", "\\xe6", "\\x9d", "\\xb1", " a", " ", " city"]),
        ("first", [" ", "\\xe6", "\\x9d", "\\xb1", " a", " ", " city"]),
        ("never", ["\\xe6", "\\x9d", "\\xb1", " a", " ", " city"]),
        ("wordpiece", ["<unk>", " a", "  city"]),
    ],
)
def test_labels_of_blanks(name: str, labels: list[str]) -> None:
    read = read_prompt(unloaded(kinds()[name]), "東 a  city")
    assert [t.text for t in read.tokens[read.front :]] == labels
    assert "" not in labels


def test_a_blank_that_is_not_in_the_text_has_no_character() -> None:
    read = read_prompt(unloaded(sentencepiece("legacy")), "東")
    start, blank, *_, last = read.tokens
    assert (start.text, start.segment) == ("<s>", "special")
    assert (blank.text, blank.start, blank.end) == (" ", 0, 0)
    assert (last.start, last.end) == (0, 1)


@pytest.mark.parametrize("name", [*LOSSLESS, "wordpiece"])
def test_a_text_gets_one_start_and_no_end(name: str) -> None:
    made = type(kinds()[name])(
        tokenizer_object=kinds()[name].backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        chat_template="{{ bos_token }}" + kinds()[name].chat_template,
    )
    start, end = made.convert_tokens_to_ids(["<s>", "</s>"])
    before = made.backend_tokenizer.post_processor
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    try:
        pair = unloaded(made)
        messages = [{"role": "user", "content": "Name a city."}]
        rendered = made.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        want = made.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert read_prompt(pair, rendered).ids == want
        assert read_prompt(pair, "Name a city.", template=True).ids == want
        assert read_prompt(pair, "<s>").ids == [start]
        plain = read_prompt(pair, "Name a city.").ids
        assert (plain[0], plain.count(start), plain.count(end)) == (start, 1, 0)
        # What a person wrote stays, wherever it stands.
        assert read_prompt(pair, "Name</s>").ids[-1] == end
    finally:
        made.backend_tokenizer.post_processor = before


def test_every_byte_of_a_character_is_in_its_segment() -> None:
    for name in ("byte level", "byte level, trimmed", "first"):
        read = read_prompt(unloaded(kinds()[name]), "Name 👩 city", instruction="👩")
        marked = [t for t in read.tokens if t.segment == "instruction"]
        assert b"".join(pieces(kinds()[name]).raw(t.id) for t in marked).strip() == "👩".encode()


def test_tokens_that_tuning_added_do_not_change_how_the_rest_is_cut() -> None:
    for base, tuned in (
        (byte_level(turns=False), byte_level()),
        (tiny.tokenizer(), byte_level()),
    ):
        read = read_prompt(unloaded(tuned, base), "Name a city.", template=True)
        assert read.ids == tuned.encode(read.text, add_special_tokens=False)


def test_ids_are_bounded_by_the_largest_one() -> None:
    data = json.loads(byte_level(turns=False).backend_tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    last = max(vocabulary, key=lambda piece: vocabulary[piece])
    vocabulary[last] += 40
    sparse = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)), bos_token="<s>", eos_token="</s>"
    )
    pair = unloaded(sparse)
    assert pair.vocabulary == vocabulary[last] + 1 == len(sparse) + 40
    word = pieces(sparse)(vocabulary[last])
    assert vocabulary[last] in read_prompt(pair, word).ids
    sparse.add_tokens(["<new>"])
    assert pair.vocabulary == max(sparse.get_vocab().values()) + 1
    assert unloaded(sparse, vocab_size=7).vocabulary == 7
