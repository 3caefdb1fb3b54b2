/* self-test: the same fan-out from the floor, once as it is and once with joined sends, where the server is so cheap that
 * the generator is what is measured. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "dialect.h"
#include "feed.h"
#include "modes.h"
#include "result.h"

struct measured {
    double rate, per_recv, busy;
    struct verdict verdict;
};

static pid_t start_floor(const struct options *options, unsigned join, unsigned *port)
{
    int out[2];
    if (pipe(out) != 0)
        die("pipe: %s", strerror(errno));
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (child == 0) {
        char joined[16];
        snprintf(joined, sizeof joined, "%u", join);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it must not outlive us, however we end */
        if (getppid() != parent)
            _exit(EXIT_CANNOT);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        if (options->cpu > 0) /* the other core; where there is no pinning, wherever the kernel likes */
            execl(options->floor, "floor", "--join", joined, "--cpu", "0", (char *)NULL);
        else
            execl(options->floor, "floor", "--join", joined, (char *)NULL);
        fprintf(stderr, "error: cannot run %s: %s\n", options->floor, strerror(errno));
        _exit(EXIT_CANNOT);
    }
    close(out[1]);
    FILE *said = fdopen(out[0], "r");
    if (said == NULL || fscanf(said, "listening on 127.0.0.1:%u", port) != 1)
        die("the floor did not start; name it with --floor");
    fclose(said);
    return child;
}

static struct measured measure(const struct options *given, unsigned join)
{
    struct options options = *given;
    struct loop loop;
    struct feed *feed = must_zero(1, sizeof *feed);
    pid_t child = start_floor(given, join, &options.ports[0]);
    options.port_count = options.pub_port_count = 1;
    options.pub_ports[0] = options.ports[0];
    options.dialect = &dialect_floor;
    loop_init(&loop, &options);
    loop.handlers.event = feed_event;
    feed_open(&loop, feed, options.channels, options.listeners, 1, options.window, 0, 0);
    feed_start(&loop, feed);
    feed_run(&loop, feed, options.warmup);
    feed_measure(&loop, feed);
    feed_run(&loop, feed, options.seconds);
    feed_stop(&loop, feed);
    double seconds = (double)(feed->to - feed->from) / 1e9;
    struct measured measured = {
        .rate = (double)feed->deliveries / seconds,
        .per_recv = feed->reads > 0 ? (double)feed->deliveries / (double)feed->reads : 0,
        .busy = 1 - (double)feed->idle / 1e9 / seconds,
        .verdict = feed_prove(feed),
    };
    feed_close(&loop, feed);
    free(feed);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return measured;
}

int mode_self_test(const struct options *options)
{
    need_files((size_t)options->channels * options->listeners + 1);
    struct measured floor = measure(options, 1), joined = measure(options, options->join);
    uint64_t lost = floor.verdict.lost + joined.verdict.lost, doubled = floor.verdict.doubled + joined.verdict.doubled;
    uint64_t reordered = floor.verdict.reordered + joined.verdict.reordered;
    result_begin(options);
    result_number("listeners", (uint64_t)options->channels * options->listeners);
    result_number("join", options->join);
    result_real("floor_deliveries_per_second", floor.rate);
    result_real("floor_generator_busy", floor.busy);
    result_real("deliveries_per_second", joined.rate);
    result_real("deliveries_per_recv", joined.per_recv);
    result_real("generator_busy", joined.busy);
    result_real("times_the_floor", floor.rate > 0 ? joined.rate / floor.rate : 0);
    result_number("lost", lost);
    result_number("doubled", doubled);
    result_number("reordered", reordered);
    result_end();
    return lost + doubled + reordered == 0 && joined.rate > floor.rate ? EXIT_PROVEN : EXIT_BROKEN;
}
