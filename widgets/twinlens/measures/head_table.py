"""Every attention head of both models in one tidy table."""

from __future__ import annotations

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, reading_position
from twinlens.support.progress import Report
from twinlens.traces.frames import DataFrame, frame_of
from twinlens.traces.trace import Trace

#: Measures of the rows of attention that the table holds.
MEASURES = ("entropy", "sink", "instruction", "previous")


def head_columns(
    trace: Trace, token: int | None = None, report: Report | None = None
) -> dict[str, Array]:
    """Columns of `head_table`, each of length L * H.

    Raises
    ------
    IndexError
        If the token is not one that both models read.
    """
    m = trace.manifest
    if token is not None and not 0 <= token < m.common_length:
        raise IndexError(
            f"there is no token {token} that both models read: they share 0 to "
            f"{m.common_length - 1}"
        )
    at = None if token is None else reading_position(token, m.prompt_length)
    answer = token is None or token >= m.prompt_length
    layer, head = np.indices((m.pair.layers, m.pair.heads))
    change = trace.head_change() if at is None else trace.array(blocks.head_change(), report)[at]
    columns = {"layer": layer, "head": head, "divergence": change.astype(np.float32)}
    for side in SIDES:
        # Without a token: over the positions that predict the answer.
        rows = slice(m.prompt_length - 1, -1) if at is None else slice(at, at + 1)
        for name in MEASURES:
            values = trace.array(blocks.HEAD_MEASURES[name](side), report)[rows].astype(np.float32)
            columns[f"{name}_{side}"] = values.mean(axis=0)
        if answer:
            answer_token = None if token is None else token - m.prompt_length
            columns[f"effect_{side}"] = trace.array(blocks.head_effect(side, answer_token), report)
    circuits = trace.array(blocks.head_circuits(), report)
    names = ("qk_difference", "qk_cosine", "ov_difference", "ov_cosine")
    columns |= {name: circuits[..., index] for index, name in enumerate(names)}
    return {name: np.asarray(column).ravel() for name, column in columns.items()}


def head_table(trace: Trace, token: int | None = None, report: Report | None = None) -> DataFrame:
    """Tidy table with one row per head.

    Parameters
    ----------
    trace : Trace
    token : int, optional
        A position both models read; an answer token is looked at where it is predicted. By
        default measures are averaged over the answer, and divergence over all shared positions.
    report : callable, optional
        Told of long work; may raise `Interrupted`.

    Returns
    -------
    DataFrame
        ``layer``, ``head``; ``divergence`` of the patterns, bits; for each model ``entropy``
        (bits), ``sink``, ``instruction`` and ``previous`` (shares of attention) and, for an answer
        token or the whole answer, ``effect`` (first-order estimate, nats); and the change of the
        head's weights as in `twinlens.compute.heads.search`.

    Raises
    ------
    IndexError
        If the token is not one that both models read.
    """
    return frame_of(head_columns(trace, token, report))
