/* Quicksort of 20,000 integers, recursive. */
static int data[20000];
static void sort(int lo, int hi) {
  while (lo < hi) {
    int p = data[(lo + hi) / 2], i = lo, j = hi;
    while (i <= j) {
      while (data[i] < p) i++;
      while (data[j] > p) j--;
      if (i <= j) { int t = data[i]; data[i] = data[j]; data[j] = t; i++; j--; }
    }
    if (j - lo < hi - i) { sort(lo, j); lo = i; } else { sort(i, hi); hi = j; }
  }
}
__attribute__((export_name("run"))) int run(int rounds) {
  for (int r = 0; r < rounds; r++) {
    unsigned s = 12345 + r;
    for (int i = 0; i < 20000; i++) { s = s * 1664525 + 1013904223; data[i] = s >> 8; }
    sort(0, 19999);
  }
  return data[100];
}
