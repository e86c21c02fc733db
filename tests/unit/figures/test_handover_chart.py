from __future__ import annotations

import numpy as np
from twinlens.contract import blocks
from twinlens.figures.layer_charts import handover_chart

from tests.support.made_up import MadeUpTrace


def test_lines_are_named_after_the_model_above(trace: MadeUpTrace) -> None:
    source = handover_chart(trace).select_one({"name": "handover"})
    assert list(source.data["layer"]) == [0, 1, 2, 3, 4]
    for lower, upper in (("base", "tuned"), ("tuned", "base")):
        sums = trace.array(blocks.handover(lower)).astype(np.float64).sum(axis=1)
        np.testing.assert_allclose(source.data[upper], sums[:, 0])
        np.testing.assert_allclose(source.data[f"{upper}_kl"], sums[:, 1])
