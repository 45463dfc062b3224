/* A byte-code interpreter: one large loop with a switch. */
static const unsigned char code[] = {0, 0, 1, 1, 2, 3, 4, 5, 6, 0, 1, 7, 2, 4, 8};
__attribute__((export_name("run"))) int run(int steps) {
  unsigned acc = 1, x = 7, y = 3, pc = 0;
  unsigned mem[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int i = 0; i < steps; i++) {
    switch (code[pc++]) {
      case 0: acc += x; break;
      case 1: acc ^= y; break;
      case 2: acc = acc * 3 + 1; break;
      case 3: x = acc >> 3; break;
      case 4: y += mem[acc & 7]; break;
      case 5: mem[x & 7] = acc; break;
      case 6: if (acc & 1) acc += y; else acc -= x; break;
      case 7: acc = acc << 5 | acc >> 27; break;
      case 8: pc = 0; break;
    }
  }
  return acc;
}
