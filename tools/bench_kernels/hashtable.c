/* Open addressing with linear probing. */
static unsigned keys[16384], values[16384];
__attribute__((export_name("run"))) int run(int rounds) {
  unsigned sum = 0;
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < 16384; i++) keys[i] = 0;
    unsigned s = r + 1;
    for (int i = 0; i < 10000; i++) {
      s = s * 1103515245 + 12345;
      unsigned k = s | 1, slot = (k * 2654435761u) >> 18;
      while (keys[slot] && keys[slot] != k) slot = (slot + 1) & 16383;
      keys[slot] = k; values[slot] += i;
      sum += values[slot];
    }
  }
  return sum;
}
