#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "dialect.h"
#include "stamp.h"

static const char help_text[] =
    "load: many clients of a messaging server, on one core\n"
    "\n"
    "    load MODE --port P [options]          one JSON object on stdout\n"
    "    load --self-test [--cpu 1 --spin]     how many deliveries per second the generator itself can take\n"
    "\n"
    "Every event carries the sender's clock and its number; for every listener it is proven that each came once and in\n"
    "order. Exit code: 0 proven; 1 something was lost, doubled, reordered or refused; 2 it could not run, the reason is on\n"
    "stderr; 3 the watchdog ended it.\n"
    "\n"
    "Modes\n"
    "  fanout    deliveries per second: at most --window publishes are not delivered to all, a next one leaves when one is\n"
    "  latency   time from publish to delivery at a fixed --rate\n"
    "  calls     answers per second: --connections keep --in-flight calls of --frame each; with --rate that many calls per\n"
    "            second in all, timed from when they were due; with --background-rate events run beside them;\n"
    "            with @STAMP@ in the frame each call causes an event to the --listeners of its channel, of --channels\n"
    "  mixed     chat: --listeners in each of --channels rooms, who hear what they send and do all that --frame says, --rate a\n"
    "            second in all; sends are proven as events are (backchannel only)\n"
    "  idle      --connections are opened, subscribed and held until stdin closes; the JSON says that all are there\n"
    "  connects  connections per second, up to the server's welcome: --parallel at once, each closed when it is there\n"
    "  storm     --connections listen, are cut off, miss --missed events, and come back all at once from their positions;\n"
    "            with --rate events go on meanwhile (backchannel only)\n"
    "  slow      --listeners that read and --slow that do not, until the end; what those missed must be told or ended\n"
    "\n"
    "Server\n"
    "  --dialect D           backchannel (default) text-ws bun socketio python-socketio nats mqtt nchan floor\n"
    "  --port P[,P…]         on 127.0.0.1; several are used in turn\n"
    "  --pub-port P[,P…]     the same for publishers, if they are to connect elsewhere\n"
    "  --tokens FILE         one token a line, used in turn (backchannel)\n"
    "  --prefix TEXT         of channels, before their number; default bench: (backchannel)\n"
    "  --event NAME          of what is published; default load.sent (backchannel)\n"
    "  --sub-path --pub-path --call-path PATH    where they connect, @N@ being the channel; defaults per dialect\n"
    "\n";

static const char more_help[] =
    "Load\n"
    "  --channels C          default 1\n"
    "  --listeners L         of each channel; default 1000\n"
    "  --publishers P        connections that publish, each its share of the channels; default 1\n"
    "  --window W            publishes under way over all channels, at least 1 each; default 64\n"
    "  --burst               a channel's window leaves at once, the next one when all of it has been delivered\n"
    "  --rate R              publishes or calls per second; default 50 (latency, mixed), as fast as possible (others)\n"
    "  --payload N           bytes, 64 to 16384; default 100\n"
    "  --connections N       default 100\n"
    "  --in-flight K         default 1\n"
    "  --frame FILE          what a call sends. @ID@ is its id, @KEY@ a new idempotency key, @CALLER@ its connection's number.\n"
    "                        @CHANNEL@ is that number modulo --channels, @STAMP@ a text that the event must carry.\n"
    "                        An answer is known by \"id\":N in it (socketio: 42@ID@[…], answered by 43N[…])\n"
    "                        mixed: one frame a line, behind a weight and a space. @CHANNEL@ is the room's number; one with\n"
    "                        @STAMP@ in a text is a send, which all in the room must hear\n"
    "  --background-rate R   events per second to --listeners beside calls; default 0\n"
    "  --subscriptions S     idle: channels that each connection listens to, no two the same; default 1 (backchannel)\n"
    "  --parallel P          connections opened at once; default 64, storm: all\n"
    "  --missed M            default 10\n"
    "  --slow K              default 10\n"
    "  --join K              self-test: deliveries per send of the floor; default 64\n"
    "  --floor FILE          self-test: the floor; default beside this program\n"
    "\n"
    "Run\n"
    "  --seconds S           measured; default 2, at most 600\n"
    "  --warmup S            before it; default 0.3\n"
    "  --stall S             without progress: what is under way is lost; default 5\n"
    "  --limit S             the watchdog; default 120 more than --seconds, idle: 3600\n"
    "  --cpu N               pin to this core\n"
    "  --spin                never sleep, so that no server pays for waking us up\n"
    "  --marks               lines {\"mark\":\"begin\"|\"end\",\"at\":ns} on stdout around what is measured, before the result\n"
    "  --verbose             progress on stderr\n";

enum kind { UNSIGNED, REAL, TEXT, FLAG, PORTS, PUB_PORTS, DIALECT, SELF_TEST, HELP };

struct entry {
    const char *name;
    enum kind kind;
    size_t at;
    double least, most;
};

#define AT(field) offsetof(struct options, field)

static const struct entry entries[] = {
    {"dialect", DIALECT, 0, 0, 0},
    {"port", PORTS, 0, 0, 0},
    {"pub-port", PUB_PORTS, 0, 0, 0},
    {"tokens", TEXT, AT(tokens_file), 0, 0},
    {"prefix", TEXT, AT(prefix), 0, 0},
    {"event", TEXT, AT(event), 0, 0},
    {"sub-path", TEXT, AT(sub_path), 0, 0},
    {"pub-path", TEXT, AT(pub_path), 0, 0},
    {"call-path", TEXT, AT(call_path), 0, 0},
    {"channels", UNSIGNED, AT(channels), 1, 65535},
    {"listeners", UNSIGNED, AT(listeners), 1, 1000000},
    {"publishers", UNSIGNED, AT(publishers), 1, 65535},
    {"window", UNSIGNED, AT(window), 1, 1000000},
    {"burst", FLAG, AT(burst), 0, 0},
    {"subscriptions", UNSIGNED, AT(subscriptions), 1, 10000},
    {"rate", REAL, AT(rate), 0.1, 1e6},
    {"payload", UNSIGNED, AT(payload), STAMP_SMALLEST, STAMP_LARGEST},
    {"connections", UNSIGNED, AT(connections), 1, 1000000},
    {"in-flight", UNSIGNED, AT(in_flight), 1, 10000},
    {"frame", TEXT, AT(frame_file), 0, 0},
    {"background-rate", REAL, AT(background), 0, 1e6},
    {"parallel", UNSIGNED, AT(parallel), 1, 1000000},
    {"missed", UNSIGNED, AT(missed), 1, 100000},
    {"slow", UNSIGNED, AT(slow), 1, 10000},
    {"join", UNSIGNED, AT(join), 2, 10000},
    {"floor", TEXT, AT(floor), 0, 0},
    {"seconds", REAL, AT(seconds), 0.01, 600},
    {"warmup", REAL, AT(warmup), 0, 60},
    {"stall", REAL, AT(stall), 0.1, 600},
    {"limit", REAL, AT(limit), 1, 86400},
    {"cpu", UNSIGNED, AT(cpu), 0, 1023},
    {"spin", FLAG, AT(spin), 0, 0},
    {"marks", FLAG, AT(marks), 0, 0},
    {"verbose", FLAG, AT(verbose), 0, 0},
    {"self-test", SELF_TEST, 0, 0, 0},
    {"help", HELP, 0, 0, 0},
};

#define ENTRIES (sizeof entries / sizeof *entries)

static double number(const struct entry *entry, const char *text)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool whole = entry->kind != UNSIGNED || value == (double)(long long)value;
    if (end == text || *end != '\0' || errno != 0 || !whole || !(value >= entry->least && value <= entry->most))
        die("--%s must be a %snumber from %g to %g, not `%s`", entry->name, entry->kind == UNSIGNED ? "whole " : "",
            entry->least, entry->most, text);
    return value;
}

static unsigned ports(unsigned *to, const char *text)
{
    unsigned count = 0;
    for (const char *at = text;;) {
        char *end;
        unsigned long port = strtoul(at, &end, 10);
        if (end == at || port == 0 || port > 65535 || (*end != ',' && *end != '\0') || count == MAX_PORTS)
            die("--port and --pub-port must be up to %d ports with commas between them, not `%s`", MAX_PORTS, text);
        to[count++] = (unsigned)port;
        if (*end == '\0')
            return count;
        at = end + 1;
    }
}

static void set(struct options *options, const struct entry *entry, const char *text)
{
    void *field = (char *)options + entry->at;
    switch (entry->kind) {
    case UNSIGNED:
        *(unsigned *)field = (unsigned)number(entry, text);
        break;
    case REAL:
        *(double *)field = number(entry, text);
        break;
    case TEXT:
        *(const char **)field = text;
        break;
    case FLAG:
        *(bool *)field = true;
        break;
    case PORTS:
        options->port_count = ports(options->ports, text);
        break;
    case PUB_PORTS:
        options->pub_port_count = ports(options->pub_ports, text);
        break;
    case DIALECT:
        options->dialect = dialect_named(text);
        if (options->dialect == NULL)
            die("there is no dialect `%s`; there are: %s", text, dialect_names);
        break;
    case SELF_TEST:
        options->mode = "self-test";
        break;
    case HELP:
        fputs(help_text, stdout);
        fputs(more_help, stdout);
        exit(0);
    }
}

static void check(struct options *options)
{
    const struct dialect *dialect = options->dialect;
    bool self_test = strcmp(options->mode, "self-test") == 0;
    if (options->port_count == 0 && !self_test)
        die("--port is missing: where does the server listen?");
    if (strcmp(options->mode, "calls") == 0) {
        if (!dialect->calls)
            die("%s has no calls here; backchannel, text-ws, bun, socketio, python-socketio and nchan have", dialect->name);
        if (options->frame_file == NULL)
            die("--frame is missing: a file with what a call sends, with @ID@ in it");
    }
    bool mixed = strcmp(options->mode, "mixed") == 0;
    if (mixed && options->frame_file == NULL)
        die("--frame is missing: a file with a weight and what a call sends on each line");
    if (options->subscriptions > 1 && strcmp(options->mode, "idle") != 0)
        die("--subscriptions is for idle, not for %s", options->mode);
    if ((mixed || options->subscriptions > 1) && !dialect->resumes)
        die("mixed and --subscriptions are for backchannel, not for %s", dialect->name);
    if (strcmp(options->mode, "storm") == 0 && !dialect->resumes)
        die("%s cannot resume: the storm is for backchannel", dialect->name);
    if (options->publishers > options->channels)
        options->publishers = options->channels; /* a channel has one publisher, else it had no order */
    if (options->sub_path == NULL)
        options->sub_path = dialect->sub_path;
    if (options->pub_path == NULL)
        options->pub_path = dialect->pub_path;
    if (options->call_path == NULL)
        options->call_path = dialect->call_path;
    if (strlen(options->prefix) > 64 || strlen(options->event) > 64)
        die("--prefix and --event have at most 64 characters");
    if (options->pub_port_count == 0) {
        options->pub_port_count = options->port_count;
        memcpy(options->pub_ports, options->ports, sizeof options->ports);
    }
    if (options->rate <= 0 && (mixed || strcmp(options->mode, "latency") == 0))
        options->rate = 50;
    if (options->parallel == 0)
        options->parallel = strcmp(options->mode, "storm") == 0 ? options->connections : 64;
    if (options->limit <= 0)
        options->limit = strcmp(options->mode, "idle") == 0 ? 3600 : options->seconds + 120;
}

void options_read(struct options *options, int count, char **words)
{
    static char beside[4096];
    struct option known[ENTRIES + 1];
    memset(known, 0, sizeof known);
    for (size_t i = 0; i < ENTRIES; i++) {
        known[i].name = entries[i].name;
        known[i].has_arg = entries[i].kind == FLAG || entries[i].kind >= SELF_TEST ? no_argument : required_argument;
    }
    const char *slash = strrchr(words[0], '/');
    snprintf(beside, sizeof beside, "%.*sfloor", slash != NULL ? (int)(slash - words[0] + 1) : 0, words[0]);
    *options = (struct options){
        .dialect = dialect_named("backchannel"), .channels = 1, .listeners = 1000, .publishers = 1, .window = 64,
        .subscriptions = 1, .connections = 100, .in_flight = 1, .slow = 10, .missed = 10, .payload = 100, .join = 64, .seconds = 2,
        .warmup = 0.3, .stall = 5, .prefix = "bench:", .event = "load.sent", .floor = beside, .cpu = -1,
    };
    for (int index = -1, found; (found = getopt_long(count, words, "", known, &index)) != -1; index = -1) {
        if (found != 0)
            die("see load --help");
        set(options, &entries[index], optarg);
    }
    if (optind < count && options->mode == NULL)
        options->mode = words[optind++];
    if (optind < count)
        die("`%s` is one word too many; see load --help", words[optind]);
    if (options->mode == NULL)
        die("what is asked? fanout, latency, calls, mixed, idle, connects, storm, slow or --self-test; see load --help");
    check(options);
}
