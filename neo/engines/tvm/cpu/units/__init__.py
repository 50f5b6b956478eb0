"""What a processor computes with: vector tiles, pairs of bfloat16, AMX tiles."""
