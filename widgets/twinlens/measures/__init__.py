"""Numbers made of a trace's blocks: densities, shares, differences, agreement."""
