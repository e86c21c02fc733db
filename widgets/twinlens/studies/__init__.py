"""Many prompts: data in, attributions to Parquet, statistics, one report out."""
