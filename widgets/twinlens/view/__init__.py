"""Widgets: the explorer and its panels. Never imports torch or `twinlens.compute`."""
