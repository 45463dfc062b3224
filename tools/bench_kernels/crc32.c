/* CRC-32 by table. */
static unsigned table[256];
static unsigned char data[4096];
__attribute__((export_name("run"))) int run(int rounds) {
  for (unsigned i = 0; i < 256; i++) {
    unsigned c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  for (int i = 0; i < 4096; i++) data[i] = i * 7;
  unsigned crc = ~0u;
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < 4096; i++) crc = table[(crc ^ data[i]) & 255] ^ (crc >> 8);
  return ~crc;
}
