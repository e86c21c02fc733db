"""Words of a tokenizer, and where directions point among them."""
