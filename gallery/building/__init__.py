"""How the gallery's notebooks become pages of a site; `gallery/build.py` runs it."""
