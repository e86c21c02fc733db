"""Bokeh figures of a trace, of weights and of labels."""
