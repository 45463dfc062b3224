/* echo.c: the smallest guest that does something. Whatever comes in goes out. */
#include "icn.h"

ICN_EXPORT("run") int run(void) {
    i32 len = icn_get_input(0, 0);
    if (len < 0 || !icn_reserve(ICN_HEAP, len)) return 1;
    if (len > 0 && icn_get_input((void *)ICN_HEAP, len) != len) return 2;
    return icn_put_output((void *)ICN_HEAP, len) == 0 ? 0 : 3;
}
