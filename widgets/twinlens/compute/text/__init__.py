"""From texts to tokens: prompts, answers, pieces."""
