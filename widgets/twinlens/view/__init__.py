"""Widgets: the linked panels in a notebook. Never imports torch."""
