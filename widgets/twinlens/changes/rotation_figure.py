"""Bokeh figure of how far tuning turned the feed-forward concepts.

Bokeh is imported where it is used: it takes seconds to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlens.charts import ChartTheme
from twinlens.rotation_chart import rotation_layout
from twinlens.weights.rotation import Rotation

if TYPE_CHECKING:
    from bokeh.models.ui.ui_element import UIElement

_CAPTION = (
    "Mean of the {k} principal angles between the {k} leading components of base and of tuned; "
    "share of base's variance that these of either model hold; norm of the weight difference "
    "divided by that of base. Grey: random rotations of base's components, mean and range over "
    "the draws. Angles can be large without much change where neighbouring components explain "
    "about equally much; the share of variance is not misled by that."
)


def rotation_figure(
    rotation: Rotation, k: int | None = None, *, theme: ChartTheme = "light"
) -> UIElement:
    """Bokeh layout by layer: mean principal angle, share of variance, relative difference.

    Parameters
    ----------
    rotation : Rotation
    k : int, optional
        Number of leading components. By default the largest that was looked at, but at most a
        quarter of the rank: subspaces that nearly fill the space agree whatever they are.
    theme : {"light", "dark"}

    Raises
    ------
    HeadIndexError
        If k was not looked at.
    """
    from bokeh.layouts import column
    from bokeh.models.widgets import Div

    if k is None:
        most = max(1, rotation.parameters["rank"] // 4)
        k = max((one for one in rotation.measured if one <= most), default=min(rotation.measured))
    layout = rotation_layout(rotation.block(k), theme)
    return column(layout, Div(text=_CAPTION.format(k=k)), sizing_mode="stretch_width")
