"""The saliency methods as people are offered them: the exact ones, the paper's, estimates."""

from __future__ import annotations

from twinlens.compute.saliency import estimates, gradients, occlusion
from twinlens.compute.saliency.registry import SaliencyMethod

METHODS: dict[str, SaliencyMethod] = {
    method.method.name: method
    for method in (
        *occlusion.OCCLUSIONS,
        gradients.GRADIENT_X_INPUT,
        gradients.GRADIENT_X_INPUT_LOGPROB,
        gradients.GRADIENT_X_INPUT_LOGIT,
        gradients.GRADIENT_X_INPUT_CONTRAST,
        estimates.attention_knockout,
        estimates.gradient_norm,
        estimates.integrated_gradients,
        estimates.attention_rollout,
    )
}
