/* memory.h: the two functions that the compiler calls by itself for copies and zeroes. */
#ifndef MEMORY_H
#define MEMORY_H

__attribute__((no_builtin("memcpy"))) void *memcpy(void *to, const void *from, __SIZE_TYPE__ count) {
    unsigned char *out = to;
    const unsigned char *in = from;
    while (count--) *out++ = *in++;
    return to;
}

__attribute__((no_builtin("memset"))) void *memset(void *to, int value, __SIZE_TYPE__ count) {
    unsigned char *out = to;
    while (count--) *out++ = (unsigned char)value;
    return to;
}

#endif
