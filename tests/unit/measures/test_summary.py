from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from twinlens.measures import density, differences, summary

from tests.support.made_up import MadeUpTrace


def test_jensen_shannon_equals_scipy():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(7) * 0.3, size=(2, 50))
    p[0], q[0] = np.eye(7)[0], np.eye(7)[3]
    np.testing.assert_allclose(
        differences.jensen_shannon(p, q), jensenshannon(p, q, base=2, axis=-1) ** 2, atol=1e-12
    )
    assert differences.jensen_shannon(p[0], q[0]) == pytest.approx(1)
    assert differences.jensen_shannon(p[1], p[1]) == 0


def test_relative_difference():
    base, tuned = np.array([[3.0, 4.0], [0, 0]]), np.array([[3.0, -4.0], [0, 0]])
    np.testing.assert_allclose(differences.relative_difference(base, tuned), [8 / 5, 0])


def test_score_of_a_trace_leaves_template_tokens_out():
    trace = MadeUpTrace()
    values = trace.saliency("tuned", "gradient_x_input").values.copy()
    scored = trace.manifest.segment_positions("instruction", "context", "other")
    levels = density.levels(values[scored])
    relative = density.relative_density(density.raw_density(levels))
    instruction = [scored.index(i) for i in trace.manifest.segment_positions("instruction")]
    expected = density.instruction_score(relative, instruction)
    assert summary.trace_score(trace, "tuned") == pytest.approx(expected, abs=1e-12)


def test_changed_heads_are_sorted():
    trace = MadeUpTrace()
    found = summary.changed_heads(trace, 4)
    change = trace.head_change()
    assert [value for *_, value in found] == sorted(change.ravel().tolist(), reverse=True)[:4]
    assert all(change[layer, head] == value for layer, head, value in found)


def test_changed_layers_are_sorted():
    trace = MadeUpTrace()
    totals = [sum(parts.values()) for _, parts in summary.changed_layers(trace, 4)]
    assert totals == sorted(totals, reverse=True)
