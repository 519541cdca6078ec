"""The benchmark: this tool, the naive way and the floor, side by side in one run, as ratios."""
