/* Scanning and copying text byte by byte. */
static char text[8192], copy[8192];
__attribute__((noinline)) static int length(const char *s) { const char *p = s; while (*p) p++; return p - s; }
__attribute__((noinline)) static void put(char *d, const char *s) { while ((*d++ = *s++)) ; }
__attribute__((export_name("run"))) int run(int rounds) {
  for (int i = 0; i < 8191; i++) text[i] = 'a' + i % 26;
  int sum = 0;
  for (int r = 0; r < rounds; r++) { put(copy, text); sum += length(copy); text[r & 1023] = 'z'; }
  return sum;
}
