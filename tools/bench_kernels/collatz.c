/* Collatz lengths: a tight loop of 64-bit integers with a branch. */
__attribute__((export_name("run"))) int run(int most) {
  int best = 0, at = 0;
  for (int i = 1; i < most; i++) {
    unsigned long long n = i;
    int len = 1;
    while (n != 1) { n = n & 1 ? 3 * n + 1 : n / 2; len++; }
    if (len > best) { best = len; at = i; }
  }
  return at;
}
