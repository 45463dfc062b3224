/* Edit distance by dynamic programming. */
static int row[301];
static char a[300], b[300];
__attribute__((export_name("run"))) int run(int rounds) {
  for (int i = 0; i < 300; i++) { a[i] = "abcdefg"[i % 7]; b[i] = "abdcfeg"[i * 3 % 7]; }
  for (int r = 0; r < rounds; r++) {
    for (int j = 0; j <= 300; j++) row[j] = j;
    for (int i = 1; i <= 300; i++) {
      int diag = row[0];
      row[0] = i;
      for (int j = 1; j <= 300; j++) {
        int up = row[j], best = diag + (a[i - 1] != b[j - 1]);
        if (up + 1 < best) best = up + 1;
        if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
        diag = up;
        row[j] = best;
      }
    }
  }
  return row[300];
}
