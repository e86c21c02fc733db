"""The card of the pair: what it is, the numbers of the report, samples, hashes."""

from __future__ import annotations


def write_card(report, demo):
    pass
