"""Methods of input-output attribution, each an entry of one registry."""
