/* Sieve of Eratosthenes: short loops over bytes. */
static unsigned char flags[200000];
__attribute__((export_name("run"))) int run(int rounds) {
  int count = 0;
  for (int r = 0; r < rounds; r++) {
    count = 0;
    for (int i = 0; i < 200000; i++) flags[i] = 1;
    for (int i = 2; i < 200000; i++)
      if (flags[i]) { count++; for (int k = i + i; k < 200000; k += i) flags[k] = 0; }
  }
  return count;
}
