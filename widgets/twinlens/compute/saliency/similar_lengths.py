"""Which texts of a batch go through a model together: those of similar length, as many as pay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinlens.compute.models.architectures import Sizes

#: Prompts that are answered, and texts that are attributed together at most.
ANSWERED, TOGETHER = 64, 16
#: What attributing one answer token costs in each layer however small texts and model are, in
#: multiply-adds: more texts together share it, at the price of padding.
_FIXED = 1.5e7
#: Multiply-adds of texts that are not padded, together: about a second's, after which progress is
#: told. More share nothing that would count.
_WORK_AT_ONCE = 2**36
#: Bounds both in memory where models are wide or texts long: numbers of one layer.
_NUMBERS_AT_ONCE = 2**22


def answered_together(sizes: Sizes, lengths: Mapping[int, int], limit: int) -> Iterator[list[int]]:
    """Places of prompts of similar length, that are answered together."""
    places = sorted(lengths, key=lambda place: lengths[place], reverse=True)
    while places:
        longest = lengths[places[0]] + limit
        size = max(1, min(ANSWERED, _NUMBERS_AT_ONCE // (longest * sizes.intermediate)))
        yield places[:size]
        places = places[size:]


def attributed_together(
    sizes: Sizes,
    lengths: Mapping[int, tuple[int, int]],
    together: int = TOGETHER,
    *,
    padded: bool = True,
) -> list[list[int]]:
    """Places of texts that are attributed together: the grouping that should cost least.

    Texts that are padded cost as much as the longest prompt with the longest answer of the group.

    Parameters
    ----------
    lengths : mapping of int to (int, int)
        Tokens of prompt and answer.
    together : int
        Most texts in a group.
    padded : bool
        Whether texts cost more in a group of longer ones.
    """
    weights = sizes.hidden * (4 * sizes.hidden + 3 * sizes.intermediate)
    places = sorted(lengths, key=lambda place: lengths[place][::-1], reverse=True)
    # The best grouping of the first texts: its cost, and where its last group begins.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(places) + 1):
        choices, n, work = [], 0, 0.0
        for begin in range(end - 1, max(end - together, 0) - 1, -1):
            prompt_length, m = lengths[places[begin]]
            n, count = max(n, prompt_length), end - begin
            work += m * (prompt_length + m / 2) * weights * sizes.layers
            too_long = not padded and work > _WORK_AT_ONCE
            if count > 1 and (too_long or count * (n + m) * sizes.intermediate > _NUMBERS_AT_ONCE):
                break
            cost = m * (padded * count * (n + m / 2) * weights + _FIXED)
            choices.append((best[begin][0] + cost, begin))
        best.append(min(choices))
    groups: list[list[int]] = []
    end = len(places)
    while end:
        begin = best[end][1]
        groups.append(places[begin:end])
        end = begin
    return groups[::-1]
