"""Cases: many prompts and what was computed for them, from files or the published release."""

from twinlens.studies.data.rows import collect_rows, read_rows

__all__ = ["collect_rows", "read_rows"]
