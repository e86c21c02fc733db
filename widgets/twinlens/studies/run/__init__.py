"""Many prompts through a pair: on this machine or a cluster."""
