"""Recipe of the embedded pair: two tiny models that differ by instruction tuning."""
