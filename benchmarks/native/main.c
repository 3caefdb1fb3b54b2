/* load: asks one question of one server. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common.h"
#include "modes.h"

static void give_up(int signal)
{
    static const char said[] = "error: the watchdog ended the run: it took longer than --limit\n";
    (void)signal;
    (void)!write(STDERR_FILENO, said, sizeof said - 1);
    _exit(EXIT_WATCHDOG);
}

int main(int count, char **words)
{
    static const struct {
        const char *name;
        int (*run)(const struct options *options);
    } modes[] = {
        {"fanout", mode_fanout}, {"latency", mode_latency},   {"slow", mode_slow},   {"calls", mode_calls},
        {"mixed", mode_mixed},   {"idle", mode_idle},         {"connects", mode_connects}, {"storm", mode_storm},
        {"self-test", mode_self_test},
    };
    struct options options;
    options_read(&options, count, words);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, give_up);
    struct itimerval limit = {.it_value = {.tv_sec = (time_t)options.limit}};
    setitimer(ITIMER_REAL, &limit, NULL);
    pin_to(options.cpu);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, options.mode) == 0)
            return modes[i].run(&options);
    die("there is no mode `%s`; see load --help", options.mode);
}
