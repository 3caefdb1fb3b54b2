/* The questions that can be asked. Each prints one JSON object and returns the exit code. */
#ifndef BENCH_MODES_H
#define BENCH_MODES_H

#include "options.h"

int mode_fanout(const struct options *options);    /* deliveries per second, closed loop */
int mode_latency(const struct options *options);   /* time to delivery at a fixed rate */
int mode_slow(const struct options *options);      /* fast listeners beside some that do not read */
int mode_calls(const struct options *options);     /* calls and their answers, with or without events beside them */
int mode_mixed(const struct options *options);     /* members of rooms who do everything, at a fixed rate */
int mode_idle(const struct options *options);      /* connections that only stay */
int mode_connects(const struct options *options);  /* connections made per second */
int mode_storm(const struct options *options);     /* all come back at once and resume */
int mode_self_test(const struct options *options); /* what the generator itself can take */

#endif
