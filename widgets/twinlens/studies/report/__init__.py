"""The report of a study: one offline page."""
