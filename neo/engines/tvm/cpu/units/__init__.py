"""What a processor computes with: register tiles, pairs of bfloat16, AMX tiles."""
