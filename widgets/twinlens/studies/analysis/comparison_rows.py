"""A comparison as one row of a tidy table."""

from __future__ import annotations

import dataclasses
import math

from twinlens.studies.analysis.comparisons import Comparison, Record
from twinlens.studies.analysis.controls import Controls
from twinlens.studies.analysis.inference import Estimate


def flat(comparison: Comparison) -> Record:
    """One row of the tidy table of groups: everything but the ids and the tests."""
    record: Record = {
        "question": comparison.question,
        "group": comparison.group,
        "level": comparison.level,
    }
    for name in ("first", "second"):
        sample = dataclasses.asdict(getattr(comparison, name))
        del sample["ids"]
        record |= {f"{name}_{key}": value for key, value in sample.items()}
    record |= dataclasses.asdict(comparison.estimate)
    names = ("effect_name", "effect", "cohen_d", "higher", "ties")
    record |= {name: getattr(comparison, name) for name in (*names, "plain", "verdict", "why")}
    record |= _flat_controls("", comparison.controls)
    length = comparison.length
    record |= {
        f"equal_length_{name}": getattr(length, name)
        for name in ("how", "verdict", "left_out", "spread", "missing")
    }
    record |= {
        f"equal_length_{key}": value for key, value in dataclasses.asdict(length.estimate).items()
    }
    return record | _flat_controls("equal_length_", length.controls)


def _flat_controls(lead: str, controls: Controls | None) -> Record:
    """Columns of the controls; they are there, empty, where there are none."""
    record: Record = {}
    for name in ("instruction", "rest", "span"):
        both = getattr(controls, name, (math.nan, math.nan))
        record |= {f"{lead}part_{name}_first": both[0], f"{lead}part_{name}_second": both[1]}
    nothing = Estimate(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    for name in ("beyond_rest", "beyond_span", "share"):
        estimate = dataclasses.asdict(getattr(controls, name, nothing))
        keys = ("n", "difference", "low", "high", "p")
        record |= {f"{lead}{name}_{key}": estimate[key] for key in keys}
    return record | {
        f"{lead}controls_p": getattr(controls, "p", math.nan),
        f"{lead}controls_p_holm": getattr(controls, "p_holm", math.nan),
    }
