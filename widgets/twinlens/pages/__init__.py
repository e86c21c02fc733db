"""Offline pages: a trace with the front end in one HTML file."""
