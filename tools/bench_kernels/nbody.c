/* Five bodies under gravity: double arithmetic with a square root. */
double sqrt(double);
#define N 5
static double x[N][3], v[N][3], m[N];
__attribute__((export_name("run"))) int run(int steps) {
  for (int i = 0; i < N; i++) { m[i] = 1 + i; for (int k = 0; k < 3; k++) { x[i][k] = i * 3 + k; v[i][k] = 0; } }
  for (int s = 0; s < steps; s++) {
    for (int i = 0; i < N; i++)
      for (int j = i + 1; j < N; j++) {
        double d[3], q = 0;
        for (int k = 0; k < 3; k++) { d[k] = x[i][k] - x[j][k]; q += d[k] * d[k]; }
        double mag = 0.001 / (q * __builtin_sqrt(q));
        for (int k = 0; k < 3; k++) { v[i][k] -= d[k] * m[j] * mag; v[j][k] += d[k] * m[i] * mag; }
      }
    for (int i = 0; i < N; i++) for (int k = 0; k < 3; k++) x[i][k] += 0.001 * v[i][k];
  }
  return (int)(x[0][0] * 1e6);
}
