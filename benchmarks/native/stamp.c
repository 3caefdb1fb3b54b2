#include "stamp.h"

#include <stdio.h>
#include <string.h>

#define MARK "~@"
#define MARK_SIZE 2u
#define DIGITS (16u + 8u + 4u)

static void write_hex(char *out, unsigned digits, uint64_t value)
{
    for (unsigned i = digits; i-- > 0; value >>= 4)
        out[i] = "0123456789abcdef"[value & 15];
}

static bool read_hex(const char *from, unsigned digits, uint64_t *value)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < digits; i++) {
        unsigned c = (unsigned char)from[i], decimal = c - '0', letter = c - 'a';
        unsigned digit = decimal < 10 ? decimal : letter < 6 ? letter + 10 : 16;
        if (digit > 15)
            return false;
        sum = sum << 4 | digit;
    }
    *value = sum;
    return true;
}

void stamp_write(char *out, size_t size, const struct stamp *stamp)
{
    /* `at` again as a number, for servers whose events are typed; the proof reads the fixed digits behind the mark. */
    char head[48];
    size_t used = (size_t)snprintf(head, sizeof head, "{\"at\":%llu,\"fill\":\"" MARK, (unsigned long long)stamp->at);
    memcpy(out, head, used);
    write_hex(out + used, 16, stamp->at);
    write_hex(out + used + 16, 8, stamp->number);
    write_hex(out + used + 24, 4, stamp->channel);
    used += DIGITS;
    memset(out + used, 'x', size - used - 2);
    memcpy(out + size - 2, "\"}", 2);
}

bool stamp_read(const char *data, size_t size, size_t *hint, struct stamp *stamp)
{
    if (*hint + MARK_SIZE + DIGITS > size || memcmp(data + *hint, MARK, MARK_SIZE) != 0) {
        const char *found = memmem(data, size, MARK, MARK_SIZE);
        if (found == NULL || (size_t)(found - data) + MARK_SIZE + DIGITS > size)
            return false;
        *hint = (size_t)(found - data);
    }
    const char *digits = data + *hint + MARK_SIZE;
    uint64_t number = 0, channel = 0;
    if (!read_hex(digits, 16, &stamp->at) || !read_hex(digits + 16, 8, &number) || !read_hex(digits + 24, 4, &channel))
        return false;
    stamp->number = (uint32_t)number;
    stamp->channel = (uint32_t)channel;
    return true;
}
