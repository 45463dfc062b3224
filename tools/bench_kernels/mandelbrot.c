/* Mandelbrot set: a loop of doubles with an early exit. */
__attribute__((export_name("run"))) int run(int size) {
  int inside = 0;
  for (int py = 0; py < size; py++)
    for (int px = 0; px < size; px++) {
      double cx = px * 3.0 / size - 2, cy = py * 2.0 / size - 1, x = 0, y = 0;
      int n = 0;
      while (n < 100 && x * x + y * y < 4) { double t = x * x - y * y + cx; y = 2 * x * y + cy; x = t; n++; }
      inside += n == 100;
    }
  return inside;
}
