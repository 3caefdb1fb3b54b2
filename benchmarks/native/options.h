/* What the command line asks for. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#define MAX_PORTS 8

struct dialect;

struct options {
    const char *mode;
    const struct dialect *dialect;
    unsigned ports[MAX_PORTS];
    unsigned port_count;
    unsigned pub_ports[MAX_PORTS]; /* where publishers connect, if not there */
    unsigned pub_port_count;
    unsigned channels;    /* numbered from 0 */
    unsigned listeners;   /* of each channel */
    unsigned publishers;  /* connections that publish */
    unsigned window;      /* publishes under way, over all channels */
    unsigned subscriptions; /* of each idle connection */
    unsigned connections; /* callers, idle or returning connections */
    unsigned in_flight;   /* calls under way on each */
    unsigned parallel;    /* connections being opened at once */
    unsigned slow;        /* listeners that do not read */
    unsigned missed;      /* events published while everybody is away */
    unsigned payload;     /* bytes */
    unsigned join;        /* self-test: what the floor joins */
    double seconds;       /* measured */
    double warmup;        /* before it */
    double rate;          /* per second; 0: as fast as the window lets */
    double background;    /* events per second beside the calls */
    double stall;         /* seconds without progress after which the rest is lost */
    double limit;         /* seconds after which the watchdog ends everything */
    const char *sub_path, *pub_path, *call_path;
    const char *prefix, *event;
    const char *frame_file, *tokens_file, *floor;
    int cpu;
    bool burst; /* a window leaves at once, and the next one when all of it has come */
    bool spin, marks, verbose;
};

/* Read the command line; prints help, or what is wrong and what cures it, and ends the program. */
void options_read(struct options *options, int count, char **words);

#endif
