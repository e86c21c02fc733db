"""Where passes over a text begin."""

from __future__ import annotations

import pytest
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.passes import subject as subject_module
from twinlens.compute.passes.subject import ending

from tests.support import tiny


def test_a_text_is_read_once_for_all_positions(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(reading, first):
        read.append(first)
        return ending(reading, first)

    monkeypatch.setattr(subject_module, "ending", counted)
    subject = trace_pair(pair, tiny.PROMPT, max_new_tokens=4, response="tuned").subject
    with pair.model("tuned") as model:
        reading = subject.reading("tuned", model)
        length = len(reading.ids) - 1
        for first in (3, length - 1, 1):
            start, alone = subject.ending("tuned", reading, first), ending(reading, first)
            assert start.first == alone.first == first
            for module, stored in alone.stored.items():
                for here, expected in zip(start.stored[module], stored, strict=True):
                    torch.testing.assert_close(here[:, :, :first], expected)
        assert read == [length]
        # Of one that is too long, what stands in front.
        monkeypatch.setattr(subject_module, "_ENDINGS", 1)
        other = trace_pair(pair, tiny.PROMPT, max_new_tokens=4, response="tuned").subject
        assert other.ending("tuned", reading, 3).first == 3
        assert other.ending("tuned", reading, 0).stored == {}
        assert read == [length, 3, 0]
