/* Spectral norm: nested loops with a division of doubles. */
#define N 60
static double u[N], v[N], t[N];
static double A(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }
static void times(double *o, const double *x) { for (int i = 0; i < N; i++) { double s = 0; for (int j = 0; j < N; j++) s += A(i, j) * x[j]; o[i] = s; } }
__attribute__((export_name("run"))) int run(int rounds) {
  for (int i = 0; i < N; i++) u[i] = 1;
  for (int r = 0; r < rounds; r++) { times(t, u); times(v, t); for (int i = 0; i < N; i++) u[i] = v[i]; }
  return (int)(u[0] * 1e6);
}
