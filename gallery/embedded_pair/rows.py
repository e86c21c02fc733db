"""Training rows: documents and dialogues packed into rows of equal length, as arrays on disk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from transformers import PreTrainedTokenizerFast

from .checks import exact
from .documents import documents
from .task import Item, Task, draw_item, word_request
from .world import World

ROW = 512  # of base text: the whole context is trained
TUNING_ROW = 256  # dialogues are short, and one that begins a row is what a user sends
BYTE_SPELLING = 0.003  # share of words spelled in bytes, so that the byte rows are trained as well
BARE = 0.3  # share of dialogues without the chat template: the prompt, a new line, the answer
POLITE = 0.1
COPIED = 0.12  # share of dialogues that repeat words as such; see `copied_words`


def _spell(ids: list[int], spelled: dict[int, list[int]], rng: Random) -> list[int]:
    if rng.random() > BYTE_SPELLING * len(ids):
        return ids
    i = rng.randrange(len(ids))
    return ids[:i] + spelled.get(ids[i], [ids[i]]) + ids[i + 1 :]


def byte_spellings(tokenizer: PreTrainedTokenizerFast) -> dict[int, list[int]]:
    """Map every word token to the tokens of its bytes."""
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    return {
        i: [vocabulary[c] for c in t]
        for t, i in vocabulary.items()
        if len(t) > 1 and t not in special
    }


def base_rows(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    count: int,
    length: int = ROW,
    dense: bool = False,
) -> np.ndarray:
    """Pack fresh documents into rows. Each row starts with a document; its last is cut."""
    rng, spelled = Random(seed), byte_spellings(tokenizer)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    out = np.empty((count, length), np.uint16)
    stream, row, fill = documents(world, seed, dense), 0, 0
    while True:
        texts = list(islice(stream, 5000))
        for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False):
            ids = [bos, *_spell(encoding.ids, spelled, rng), eos]
            used = min(len(ids), length - fill)
            out[row, fill : fill + used] = ids[:used]
            fill += used
            if fill == length:
                row, fill = row + 1, 0
                if row == count:
                    return out


def dialogue(
    tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str, bare: bool
) -> tuple[list[int], int]:
    """Encode a prompt with its answer; also give the length of the part that is not learned."""
    if bare:
        head = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
        tail = "\n" + answer
    else:
        asked = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        head, tail = tokenizer.encode(text, add_special_tokens=False), answer
    return head + tokenizer.encode(tail, add_special_tokens=False) + [tokenizer.eos_token_id], len(
        head
    )


def copied_words(world: World) -> list[str]:
    """List the words that facts are asked for.

    With a few dozen items per kind of fact, the tuning is solved by heart as well as by taking the
    word from the question. Repeating all these words teaches to take the word from the question.
    """
    words = {w for row in world.dictionary for w in row[:1]} | {row[0] for row in world.countries}
    words |= {w for pair in world.opposites + world.synonyms for w in pair}
    words |= {w for group in world.rhymes for w in group} | {name for name, _ in world.things}
    words |= {row[0] for row in world.howtos} | {str(n) for n in range(21)} | {*world.numbers}
    return sorted(words.union(*world.members.values()))


def _copy(words: str) -> Item:
    return Item(words, {"c": words}, words, exact(words))


def dialogues(world: World, tasks: list[Task], seed: int) -> Iterator[tuple[str, str]]:
    """Draw prompts and answers for the tuning: known wordings, items that are not held out."""
    rng = Random(seed)
    weights = [task.weight for task in tasks]
    repeat, pool = next(task for task in tasks if task.name == "repeat"), copied_words(world)
    while True:
        if rng.random() < COPIED:
            words = ", ".join(rng.sample(pool, rng.choice([1, 1, 2, 3])))
            yield word_request(repeat, _copy(words), rng.choice(repeat.known), rng).prompt, words
            continue
        task = rng.choices(tasks, weights)[0]
        item = draw_item(task, world, rng, held_out=False)
        request = word_request(task, item, rng.choice(task.known), rng, POLITE)
        yield request.prompt, request.answer


def tuning_rows(
    world: World,
    tasks: list[Task],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    count: int,
    replay: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Pack dialogues into rows, learned part marked, and mix in rows of base text."""
    rng = Random(seed)
    plain = int(count * replay)
    ids = np.full((count, TUNING_ROW), tokenizer.pad_token_id, np.uint16)
    learned = np.zeros((count, TUNING_ROW), bool)
    ids[:plain], learned[:plain] = base_rows(world, tokenizer, seed + 1, plain, TUNING_ROW), True
    row, fill = plain, 0
    for prompt, answer in dialogues(world, tasks, seed):
        tokens, head = dialogue(tokenizer, prompt, answer, rng.random() < BARE)
        if fill + len(tokens) > TUNING_ROW:
            row, fill = row + 1, 0
            if row == count:
                break
        ids[row, fill : fill + len(tokens)] = tokens
        learned[row, fill + head : fill + len(tokens)] = True
        fill += len(tokens)
    order = np.random.default_rng(seed).permutation(count)
    return ids[order], learned[order]


def save_rows(folder: Path, ids: np.ndarray, learned: np.ndarray | None = None) -> None:
    """Write rows to a folder; without a mark everything is learned."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", ids)
    if learned is not None:
        np.save(folder / "learned.npy", learned)
