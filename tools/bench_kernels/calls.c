/* Small functions through pointers and directly, in a loop. */
typedef int (*op)(int, int);
__attribute__((noinline)) static int add(int a, int b) { return a + b; }
__attribute__((noinline)) static int mix(int a, int b) { return (a ^ b) * 31; }
__attribute__((noinline)) static int pick(int a, int b) { if (a > b) return a - b; return b - a + 1; }
static op volatile ops[3] = {add, mix, pick};
__attribute__((export_name("run"))) int run(int rounds) {
  int s = 1;
  for (int i = 0; i < rounds; i++) { s = ops[i % 3](s, i); s = pick(s, i); s = mix(add(s, i), 7); }
  return s;
}
