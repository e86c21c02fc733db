"""What every part agrees on: words, manifest, block keys, forms. No input, no output."""
