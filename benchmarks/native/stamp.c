#include "stamp.h"

#include <stdio.h>
#include <string.h>

#define MARK "~@"
#define MARK_SIZE 2u
#define DIGITS (16u + 8u + 4u)

/* Letters only: a run of digits makes a server look twice at whether it is a number that is too large. */
static void write_letters(char *out, unsigned digits, uint64_t value)
{
    for (unsigned i = digits; i-- > 0; value >>= 4)
        out[i] = (char)('a' + (value & 15));
}

static bool read_letters(const char *from, unsigned digits, uint64_t *value)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < digits; i++) {
        unsigned digit = (unsigned)(unsigned char)from[i] - 'a';
        if (digit > 15)
            return false;
        sum = sum << 4 | digit;
    }
    *value = sum;
    return true;
}

void stamp_text(char *out, const struct stamp *stamp)
{
    memcpy(out, MARK, MARK_SIZE);
    write_letters(out + MARK_SIZE, 16, stamp->at);
    write_letters(out + MARK_SIZE + 16, 8, stamp->number);
    write_letters(out + MARK_SIZE + 24, 4, stamp->channel);
}

void stamp_write(char *out, size_t size, const struct stamp *stamp)
{
    /* `at` again as a number, for servers whose events are typed; the proof reads the fixed letters behind the mark. */
    char head[48];
    size_t used = (size_t)snprintf(head, sizeof head, "{\"at\":%llu,\"fill\":\"", (unsigned long long)stamp->at);
    memcpy(out, head, used);
    stamp_text(out + used, stamp);
    used += STAMP_TEXT;
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
    if (!read_letters(digits, 16, &stamp->at) || !read_letters(digits + 16, 8, &number) || !read_letters(digits + 24, 4, &channel))
        return false;
    stamp->number = (uint32_t)number;
    stamp->channel = (uint32_t)channel;
    return true;
}
