"""From text to tokens and segments."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.text.answers import answer_tokens, encode_answer
from twinlens.compute.text.cutting import pieces
from twinlens.compute.text.prompt import check_length, read_prompt
from twinlens.errors import AnswerError, PromptError

from tests.support import tiny


def segments(pair: Pair, text: str, **options: object) -> dict[str, str]:
    """Text of each segment."""
    prompt = read_prompt(pair, text, **options)  # type: ignore[arg-type]
    found: dict[str, str] = {}
    for token in prompt.tokens:
        found[token.segment] = found.get(token.segment, "") + token.text
    return found


def test_segments_of_a_bare_prompt(pair: Pair) -> None:
    found = segments(
        pair, tiny.PROMPT, instruction=tiny.INSTRUCTION, context="The committee concurred."
    )
    assert found == {
        "special": "<s>",
        "instruction": tiny.INSTRUCTION,
        "context": " The committee concurred.",
        "other": "\n\nInput:\n\nOutput:",
    }


def test_offsets_cover_the_text_without_gap(pair: Pair) -> None:
    prompt = read_prompt(pair, tiny.PROMPT)
    assert prompt.text == tiny.PROMPT
    end = 0
    for token in prompt.tokens[1:]:
        assert token.start == end
        end = token.end
        assert token.text == prompt.text[token.start : token.end]
    assert end == len(tiny.PROMPT)
    assert prompt.ids == pair.tokenizers["base"].encode(tiny.PROMPT)


def test_spans_may_be_offsets_and_several(pair: Pair) -> None:
    start = tiny.PROMPT.index("committee")
    found = segments(pair, tiny.PROMPT, instruction=[(0, 7), (start, start + 9)])
    assert found["instruction"] == "Rewrite committee"
    assert segments(pair, tiny.PROMPT, instruction=(0, 7))["instruction"] == "Rewrite"


def test_a_token_that_shares_only_a_blank_is_outside(pair: Pair) -> None:
    # The span ends with the blank that belongs to the token " sentence".
    found = segments(pair, tiny.PROMPT, instruction="Rewrite the ")
    assert found["instruction"] == "Rewrite the"


def test_chat_template_is_marked_and_ids_are_those_run(pair: Pair) -> None:
    prompt = read_prompt(pair, "  Say hello \n", instruction="hello", template=True)
    assert prompt.text == "### User:   Say hello \n\n### Assistant:"
    assert prompt.ids == pair.tokenizers["tuned"].encode(prompt.text, add_special_tokens=False)
    by_segment: dict[str, str] = {}
    for token in prompt.tokens:
        by_segment[token.segment] = by_segment.get(token.segment, "") + token.text
    assert by_segment["instruction"].strip() == "hello"
    assert by_segment["other"].strip() == "Say"
    assert by_segment["template"].startswith("### User:")
    assert by_segment["template"].endswith("### Assistant:")


def test_special_tokens_of_a_template_are_special(folders: tuple[str, str]) -> None:
    pair = load_pair(*folders)
    pair.tokenizers["tuned"].chat_template = "<s>User: {{ messages[0]['content'] }}</s>"
    prompt = read_prompt(pair, "dog", template=True)
    assert prompt.ids[0] == 0
    assert prompt.ids.count(0) == 1, "no second start token"
    assert [t.text for t in prompt.tokens if t.segment == "special"] == ["<s>", "</s>"]


def test_special_tokens_written_by_the_user_are_special(pair: Pair) -> None:
    assert segments(pair, "a</s>b")["special"] == "<s></s>"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the prompt is empty"),
        (" \n", {}, "the prompt is empty"),
        (tiny.PROMPT, {"instruction": "Rewrite a sentence"}, "nearest match is 'Rewrite the sent"),
        (tiny.PROMPT, {"context": "the comittee"}, "nearest match is 'The committee'"),
        (tiny.PROMPT, {"instruction": " "}, "is not in the prompt"),
        (tiny.PROMPT, {"instruction": (3, 999)}, r"span \(3, 999\) is not in the prompt"),
        (tiny.PROMPT, {"instruction": (3, 3)}, r"span \(3, 3\) is not in the prompt"),
    ],
)
def test_bad_prompts(pair: Pair, text: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        read_prompt(pair, text, **options)  # type: ignore[arg-type]


def test_prompt_longer_than_the_context_says_what_fits(pair: Pair) -> None:
    prompt = read_prompt(pair, "x" * 114)
    length = len(prompt.tokens)
    assert length == 115
    check_length(pair, prompt, 13)
    with pytest.raises(
        PromptError, match=f"{length} tokens.*at most 128: lower .* to 13 or shorten .* to 108"
    ):
        check_length(pair, prompt, 20)
    with pytest.raises(AnswerError, match="max_new_tokens must be at least 1"):
        check_length(pair, prompt, 0)


def test_tokenizers_that_add_different_tokens(folders: tuple[str, str]) -> None:
    pair = load_pair(*folders)
    without_start = processors.TemplateProcessing(single="$A")
    pair.tokenizers["base"].backend_tokenizer.post_processor = without_start
    with pytest.raises(PromptError, match=r"cut this prompt differently .* one tokenizer="):
        read_prompt(pair, "hello")


def test_missing_chat_template(folders: tuple[str, str]) -> None:
    pair = load_pair(*folders)
    pair.tokenizers["tuned"].chat_template = None
    with pytest.raises(PromptError, match="no chat template: use template=False"):
        read_prompt(pair, "hello", template=True)


def test_half_characters_are_shown_as_bytes(pair: Pair) -> None:
    prompt = read_prompt(pair, "a 👩 b")
    shown = [token.text for token in prompt.tokens]
    assert shown == ["<s>", "a", " ", "\\xf0", "\\x9f", "\\x91", "\\xa9", " ", "b"]
    emoji = [token for token in prompt.tokens if token.text.startswith("\\x")]
    # It belongs to the token that completes it.
    assert [prompt.text[t.start : t.end] for t in emoji] == ["", "", "", "👩"]


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_literally(text: str) -> None:
    made = tiny.tokenizer()
    ids = made.encode(text, add_special_tokens=False)
    tokens, read = answer_tokens(made, ids, before=made.encode("x")[-1:])
    assert read == made.decode(ids)
    plain = [token for token in tokens if token.segment == "other"]
    assert all(0 <= t.start <= t.end <= len(read) for t in plain)
    assert all(a.start <= b.start for a, b in itertools.pairwise(plain))
    assert b"".join(pieces(made).raw(i) for i in ids).decode() == made.decode(
        ids, skip_special_tokens=False
    )


def sentencepiece_like() -> PreTrainedTokenizerFast:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    for piece in ["\u2581", "\u2581The", "\u2581dog", "T", "h", "e", "d", "o", "g", "."]:
        vocabulary[piece] = len(vocabulary)
    merges = [
        ("d", "o"),
        ("do", "g"),
        ("\u2581", "dog"),
        ("T", "h"),
        ("Th", "e"),
        ("\u2581", "The"),
    ]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    made = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def test_sentencepiece_vocabularies(pair: Pair, folders: tuple[str, str]) -> None:
    made = sentencepiece_like()
    other = load_pair(*folders)
    other.tokenizers = {"base": made, "tuned": made}
    prompt = read_prompt(other, "The dog é")
    # The blank put in front of the text is not in it; the one before "dog" is.
    assert [token.text for token in prompt.tokens][:2] == ["The", " dog"]
    assert [token.text for token in prompt.tokens][-2:] == ["\\xc3", "\\xa9"]
    ids = [made.convert_tokens_to_ids(p) for p in ("\u2581dog", ".", "</s>")]
    tokens, text = answer_tokens(made, ids, before=prompt.ids[1:2])
    assert text == " dog."
    assert [(t.text, t.start, t.end, t.segment) for t in tokens] == [
        (" dog", 0, 4, "other"),
        (".", 4, 5, "other"),
        ("</s>", 5, 5, "special"),
    ]


def test_given_answers_are_cut_as_after_the_prompt(pair: Pair) -> None:
    prompt = read_prompt(pair, "Rewrite the")
    made = pair.tokenizers["tuned"]
    assert (
        encode_answer(pair, prompt, " sentence in")
        == made.encode("Rewrite the sentence in", add_special_tokens=False)[len(prompt.ids) - 1 :]
    )
    # "the" + "m" might merge; then the answer is cut alone.
    merged = read_prompt(pair, "Rewrite the se")
    assert made.decode(encode_answer(pair, merged, "ntence")) == "ntence"
