#include "proof.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

#define MAX_HOLES 4096u /* a server that breaks order more often than this is proven broken already */

static void add_hole(struct proof *proof, uint32_t first, uint32_t last)
{
    if (proof->hole_count == MAX_HOLES)
        die("a listener misses events in more than %u places; the last missing one is number %u", MAX_HOLES, last);
    if ((proof->hole_count & (proof->hole_count - 1)) == 0) { /* grow at powers of two */
        size_t room = proof->hole_count > 0 ? (size_t)proof->hole_count * 2 : 1;
        proof->holes = must_alloc(proof->holes, room * sizeof *proof->holes);
    }
    proof->holes[proof->hole_count++] = (struct hole){first, last};
}

/* Take `first`..`last` out of the holes; how many of them were missing. */
static uint32_t fill(struct proof *proof, uint32_t first, uint32_t last)
{
    uint32_t filled = 0;
    for (uint32_t i = proof->hole_count; i-- > 0;) {
        struct hole hole = proof->holes[i];
        uint32_t from = hole.first > first ? hole.first : first;
        uint32_t to = hole.last < last ? hole.last : last;
        if (from > to)
            continue;
        filled += to - from + 1;
        proof->holes[i] = proof->holes[--proof->hole_count];
        if (hole.first < from)
            add_hole(proof, hole.first, from - 1);
        if (to < hole.last)
            add_hole(proof, to + 1, hole.last);
    }
    return filled;
}

bool proof_see(struct proof *proof, uint32_t number)
{
    if (number == proof->next) {
        proof->next++;
        return true;
    }
    if (number > proof->next) {
        add_hole(proof, proof->next, number - 1);
        proof->next = number + 1;
        return true;
    }
    if (fill(proof, number, number) > 0) {
        proof->reordered++;
        return true;
    }
    proof->doubled++;
    return false;
}

void proof_tell(struct proof *proof, uint32_t first, uint32_t last)
{
    if (first > last)
        return;
    proof->told += fill(proof, first, last);
    if (last < proof->next)
        return;
    if (first > proof->next)
        add_hole(proof, proof->next, first - 1);
    proof->told += last - (first > proof->next ? first : proof->next) + 1;
    proof->next = last + 1;
}

uint64_t proof_lost(const struct proof *proof, uint32_t published)
{
    uint64_t lost = published > proof->next ? published - proof->next : 0;
    for (uint32_t i = 0; i < proof->hole_count; i++)
        lost += proof->holes[i].last - proof->holes[i].first + 1;
    return lost;
}

void proof_free(struct proof *proof)
{
    free(proof->holes);
    memset(proof, 0, sizeof *proof);
}
