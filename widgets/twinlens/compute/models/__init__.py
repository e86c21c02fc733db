"""Loading models, and finding their parts whatever the architecture."""
