/* A program of the kind that CoreMark is: a linked list is searched, reversed and sorted, small matrices are
   multiplied, a state machine reads numbers from text, and a CRC-16 sums up what each of them gave. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef struct node { struct node *next; short value, index; } node;
enum { NODES = 100, SIZE = 12, TEXT = 400 };
static node nodes[NODES];
static short a[SIZE][SIZE], b[SIZE][SIZE];
static int c[SIZE][SIZE];
static u8 text[TEXT + 1];

static u16 crc8(u8 data, u16 crc) {
  for (int i = 0; i < 8; i++) {
    int carry = (data ^ crc) & 1;
    data >>= 1;
    crc >>= 1;
    if (carry) crc ^= 0xa001;
  }
  return crc;
}
static u16 crc16(u16 value, u16 crc) { return crc8(value >> 8, crc8((u8)value, crc)); }
static u16 crc32(unsigned value, u16 crc) { return crc16(value >> 16, crc16((u16)value, crc)); }

static int by_value(const node *x, const node *y) { return x->value - y->value; }
static int by_index(const node *x, const node *y) { return x->index - y->index; }

/* Merge sort from the bottom up, as Simon Tatham describes it; the order is given by a pointer. */
static node *sort(node *list, int (*order)(const node *, const node *)) {
  for (int width = 1;; width *= 2) {
    node *p = list, *tail = 0;
    int merges = 0;
    list = 0;
    while (p) {
      merges++;
      node *q = p;
      int left = 0, right = width;
      while (left < width && q) { left++; q = q->next; }
      while (left > 0 || (right > 0 && q)) {
        node *e;
        if (left == 0 || (right > 0 && q && order(p, q) > 0)) { e = q; q = q->next; right--; }
        else { e = p; p = p->next; left--; }
        if (tail) tail->next = e; else list = e;
        tail = e;
      }
      p = q;
    }
    if (tail) tail->next = 0;
    if (merges <= 1) return list;
  }
}

static node *reverse(node *list) {
  node *done = 0;
  while (list) { node *next = list->next; list->next = done; done = list; list = next; }
  return done;
}

static u16 lists(unsigned seed, u16 crc) {
  for (int i = 0; i < NODES; i++) {
    seed = seed * 1664525 + 1013904223;
    nodes[i].value = (short)(seed >> 16) & 0x3ff;
    nodes[i].index = i;
    nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : 0;
  }
  node *list = nodes;
  int found = 0;
  for (int wanted = 0; wanted < 40; wanted++) {
    node *at = list;
    while (at && (at->value & 0xff) != wanted) at = at->next;
    if (at) found += at->index;
    if (wanted % 8 == 0) list = reverse(list);
  }
  crc = crc16(found, crc);
  list = sort(list, by_value);
  for (node *at = list; at; at = at->next) crc = crc16(at->value, crc);
  return crc16(sort(list, by_index)->value, crc);
}

static u16 matrices(int seed, u16 crc) {
  for (int i = 0; i < SIZE; i++)
    for (int j = 0; j < SIZE; j++) { seed = (seed * 75 + 74) % 65537; a[i][j] = seed & 0xff; b[i][j] = (seed >> 3) & 0xff; }
  for (int i = 0; i < SIZE; i++)
    for (int j = 0; j < SIZE; j++) {
      int sum = 0;
      for (int k = 0; k < SIZE; k++) { int product = a[i][k] * b[k][j]; sum += (product >> 2 & 15) * (product >> 5 & 127) + product; }
      c[i][j] = sum;
    }
  int last = 0, above = 0;
  for (int i = 0; i < SIZE; i++)
    for (int j = 0; j < SIZE; j++) { if (c[i][j] > last) above += 10; else above += c[i][j] & 1; last = c[i][j]; }
  return crc16(above, crc);
}

enum state { START, SIGN, INTEGER, POINT, EXPONENT, DIGITS, BAD, STATES };
static enum state step(enum state s, u8 letter) {
  int digit = letter >= '0' && letter <= '9';
  switch (s) {
    case START: return digit ? INTEGER : letter == '+' || letter == '-' ? SIGN : letter == '.' ? POINT : BAD;
    case SIGN: return digit ? INTEGER : letter == '.' ? POINT : BAD;
    case INTEGER: return digit ? INTEGER : letter == '.' ? POINT : letter == 'e' ? EXPONENT : BAD;
    case POINT: return digit ? POINT : letter == 'e' ? EXPONENT : BAD;
    case EXPONENT: return digit || letter == '-' || letter == '+' ? DIGITS : BAD;
    case DIGITS: return digit ? DIGITS : BAD;
    default: return BAD;
  }
}
static u16 states(int seed, u16 crc) {
  static const char *const words[] = {"5012", "1234", "-874", "+122", "35.54400", ".1234500", "-110.700", "+0.64400",
    "5.500e+3", "-.123e-2", "-87e+832", "+0.6e-12", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z", "34.0e-T^"};
  int counts[STATES] = {0}, at = 0;
  while (at < TEXT - 10) {
    const char *word = words[(seed += 7) & 15];
    while (*word) text[at++] = *word++;
    text[at++] = ',';
  }
  text[at] = 0;
  enum state s = START;
  for (u8 *p = text; *p; p++) {
    if (*p == ',') { counts[s]++; s = START; } else s = step(s, *p);
  }
  for (int i = 0; i < STATES; i++) crc = crc32(counts[i], crc);
  return crc;
}

__attribute__((export_name("run"))) int run(int rounds) {
  u16 crc = 0;
  for (int r = 0; r < rounds; r++) { crc = lists(r + 3, crc); crc = matrices(r + 5, crc); crc = states(r, crc); }
  return crc;
}
