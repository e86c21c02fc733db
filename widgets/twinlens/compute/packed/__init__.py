"""A small pair packed for a page that runs it: weights, tokenizer, chat template."""
