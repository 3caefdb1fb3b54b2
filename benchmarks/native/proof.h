/* The proof, per listener, that every number of a channel came once and in order. */
#ifndef BENCH_PROOF_H
#define BENCH_PROOF_H

#include <stdbool.h>
#include <stdint.h>

struct hole {
    uint32_t first, last;
};

/* 32 bytes for a listener that misses nothing: the holes are only made where there are any. */
struct proof {
    struct hole *holes;
    uint32_t hole_count;
    uint32_t next;      /* the lowest number above all that came */
    uint32_t doubled;   /* came although it had come */
    uint32_t reordered; /* came behind a higher one */
    uint32_t told;      /* did not come, and the server said so */
};

/* Note a number; false if it had come before. */
bool proof_see(struct proof *proof, uint32_t number);

/* The server said that `first` up to and including `last` will not come. */
void proof_tell(struct proof *proof, uint32_t first, uint32_t last);

/* How many below `published` neither came nor were told as missing. */
uint64_t proof_lost(const struct proof *proof, uint32_t published);

void proof_free(struct proof *proof);

#endif
