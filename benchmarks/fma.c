// Multiply-adds on values that stay in registers: what the processor can do at most, memory left out.
// VECTOR_BYTES and ACCUMULATORS come from the target; there have to be enough accumulators to hide the latency of one.
typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

// Returns a sum of the results, so that nothing is optimised away. Work: rounds * ACCUMULATORS * lanes multiply-adds.
float multiply_add(long rounds, float seed) {
  vector accumulators[ACCUMULATORS], factor, addend;
  for (int lane = 0; lane < (int)(VECTOR_BYTES / sizeof(float)); lane++) {
    factor[lane] = 0.999f + seed;
    addend[lane] = 0.001f;
  }
  for (int i = 0; i < ACCUMULATORS; i++) accumulators[i] = addend * (float)i;
  for (long round = 0; round < rounds; round++)
#pragma GCC unroll 64
    for (int i = 0; i < ACCUMULATORS; i++) accumulators[i] = accumulators[i] * factor + addend;
  vector sum = addend;
  for (int i = 0; i < ACCUMULATORS; i++) sum += accumulators[i];
  return sum[0];
}
