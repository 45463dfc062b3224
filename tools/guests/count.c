/* count.c: lines, words and bytes of the input, as `wc` counts them. The same in Rust and AssemblyScript is beside. */
#include "icn.h"

static u32 put_number(char *at, u32 value) {
    char digits[10];
    u32 n = 0, i = 0;
    do digits[n++] = (char)('0' + value % 10); while (value /= 10);
    while (n) at[i++] = digits[--n];
    return i;
}

ICN_EXPORT("run") int run(void) {
    u8 *text = (u8 *)ICN_HEAP;
    i32 len = icn_get_input(0, 0);
    if (len < 0 || !icn_reserve(ICN_HEAP, len)) return 1;
    if (len > 0 && icn_get_input(text, len) != len) return 1;
    u32 lines = 0, words = 0, inside = 0;
    for (i32 i = 0; i < len; i++) {
        u32 space = text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r');
        lines += text[i] == '\n';
        words += !space && !inside;
        inside = !space;
    }
    char line[33];
    u32 n = put_number(line, lines);
    line[n++] = ' ';
    n += put_number(line + n, words);
    line[n++] = ' ';
    n += put_number(line + n, len);
    line[n++] = '\n';
    return icn_put_output(line, n) == 0 ? 0 : 2;
}
