"""Model files to convert, one module per framework. Random weights, fixed seeds: nothing is fetched."""
