"""A trace whose components carry names given by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from twinlens.contract import blocks, lookup
from twinlens.contract.forms import HandLabels
from twinlens.contract.wire import Value
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


class LabelledTrace(Trace):
    """A trace whose components carry names given by hand, which go before any others."""

    def __init__(self, trace: Trace, labels: HandLabels) -> None:
        self.manifest, self.computes = trace.manifest, trace.computes
        self._trace, self._labels = trace, labels

    def keys(self) -> Iterable[str]:
        return self._trace.keys()

    def every_key(self) -> Iterable[str]:
        return self._trace.every_key()

    def block(self, key: str, report: Report | None = None) -> Value:
        value = self._trace.block(key, report)
        request = lookup.read(key, self.manifest)
        if request.block is not blocks.components or not self._labels:
            return value
        layer = request.values["layer"]
        entries = cast(list[dict[str, Any]], value)
        return [
            {**component, **self._labels.get(f"{layer}/{k}", {})}
            for k, component in enumerate(entries)
        ]
