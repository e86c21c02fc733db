"""Tiny tokenizers of every kind that causal language models come with."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from twinlens.compute.models.models import Models

from tests.support import tiny

TEXT = (
    "Rewrite the sentence in plain words. Name a city. What is the capital of France? "
    "You are a helpful AI assistant. user system assistant"
)
CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_WORDS = sorted(set(TEXT.split()))
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_TURNS = ["<|im_start|>", "<|im_end|>"]

Scheme = Literal["first", "always", "never", "legacy"]


def byte_level(
    *, prefix_space: bool = False, trims: bool = False, turns: bool = True
) -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen have it; `trims` leaves blanks out of offsets, as RoBERTa does."""
    made = tiny.tokenizer()
    backend = made.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    if trims:
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    return _finished(backend, turns=turns)


def sentencepiece(scheme: Scheme = "first") -> PreTrainedTokenizerFast:
    """BPE with bytes to fall back on and U+2581 for blanks, as Llama 2, Mistral and Gemma."""
    vocabulary = _numbered("\u2581", *TEXT.replace(" ", ""))
    merges: dict[tuple[str, str], None] = {}
    for word in _WORDS:
        piece = "\u2581"
        for letter in word:
            merges[piece, letter] = None
            piece += letter
            vocabulary.setdefault(piece, len(vocabulary))
    made = Tokenizer(
        models.BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if scheme == "legacy":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    made.decoder = _sentencepiece_decoder(strips=scheme != "never")
    return _finished(made, starts=True)


def unigram() -> PreTrainedTokenizerFast:
    """Unigram with bytes to fall back on, as T5 and newer SentencePiece models have it."""
    letters = sorted(set(TEXT.replace(" ", "")))
    pieces = ["<unk>", "<s>", "</s>", *_BYTES, "\u2581", *letters]
    pieces += [f"\u2581{word}" for word in _WORDS]
    scores = [(piece, -float(len(pieces)) / (1 + len(piece))) for piece in dict.fromkeys(pieces)]
    made = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = _sentencepiece_decoder(strips=True)
    return _finished(made, starts=True)


def wordpiece() -> PreTrainedTokenizerFast:
    """Whole words and their continuations, as BERT has them: blanks are lost."""
    pieces = ["<unk>", "<s>", "</s>", ".", "?", *(word.strip(".?") for word in _WORDS)]
    letters = sorted(set(TEXT) - set(" .?"))
    pieces += [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(cleanup=False)
    return _finished(made)


@cache
def kinds() -> dict[str, PreTrainedTokenizerFast]:
    """One of each; not to be changed."""
    return {
        "byte level": byte_level(),
        "byte level, prefix": byte_level(prefix_space=True),
        "byte level, trimmed": byte_level(trims=True),
        "first": sentencepiece("first"),
        "always": sentencepiece("always"),
        "never": sentencepiece("never"),
        "legacy": sentencepiece("legacy"),
        "unigram": unigram(),
        "wordpiece": wordpiece(),
    }


def unloaded(tokenizer: PreTrainedTokenizerFast, base: Any = None, **changes: Any) -> Models:
    """A pair without weights that reads texts with these tokenizers."""
    made = tiny.config("llama", **({"vocab_size": 1000} | changes))
    return Models(
        {},
        {"base": made, "tuned": made},
        {"base": base or tokenizer, "tuned": tokenizer},
        {"device_map": None},
    )


def _numbered(*pieces: str) -> dict[str, int]:
    listed = dict.fromkeys(["<unk>", "<s>", "</s>", *_BYTES, *pieces])
    return {piece: i for i, piece in enumerate(listed)}


def _sentencepiece_decoder(*, strips: bool) -> decoders.Decoder:
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)


def _finished(
    made: Tokenizer, *, starts: bool = False, turns: bool = True
) -> PreTrainedTokenizerFast:
    if starts:
        start = made.token_to_id("<s>")
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", start)]
        )
    whole = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>" if made.token_to_id("<unk>") is not None else None,
        chat_template=CHATML,
    )
    if turns:
        whole.add_special_tokens({"additional_special_tokens": _TURNS})
    return whole
