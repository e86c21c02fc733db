"""The tokenizer: whole words of the base text, and 256 bytes for everything else.

Ordinary BPE merging would leave hundreds of half words that never occur in training; their random
rows would fill every list of top words. With an empty merge list and `ignore_merges` a known word
is one token and an unknown one falls back to its bytes, so every piece of it is trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
SPECIAL = [BOS, EOS, PAD]
WORD_PATTERN = r"'s| ?\p{L}+| ?\p{N}| ?#+| ?[^\s\p{L}\p{N}#]|\s"
CONTEXT = 512
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}### Response\n{{ message['content'] }}{{ eos_token }}"
    "{% else %}### Request\n{{ message['content'] }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}### Response\n{% endif %}"
)


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def build_tokenizer(texts: Iterable[str], least_count: int = 6) -> PreTrainedTokenizerFast:
    """Count the words of `texts` and build the tokenizer from those seen often enough."""
    splitter, counts = _splitter(), Counter()
    for text in texts:
        counts.update(piece for piece, _ in splitter.pre_tokenize_str(text))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted(w for w, n in counts.items() if n >= least_count and len(w) > 1)
    vocabulary = {token: i for i, token in enumerate(SPECIAL + alphabet + words)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    core.pre_tokenizer = _splitter()
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Read a saved tokenizer."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
