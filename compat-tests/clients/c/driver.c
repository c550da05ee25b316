// Walks through the scenarios of ../README.md with libnats and prints one JSON line for each thing that it sees.

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static const struct {
    const char *name;
    void (*run)(world *w);
} scenarios[] = {
    {"kv-bucket", kv_bucket},
    {"kv-manage", kv_manage},
    {"kv-values", kv_values},
    {"kv-names", kv_names},
    {"kv-limits", kv_limits},
    {"kv-history", kv_history},
    {"kv-keys", kv_keys},
    {"kv-ttl", kv_ttl},
    {"kv-watch", kv_watch},
    {"kv-watch-writing", kv_watch_writing},
    {"kv-two", kv_two},
    {"kv-purge-deletes", kv_purge_deletes},
    {"kv-many", kv_many},
    {"js-publish", js_publish},
    {"js-stream", js_stream},
    {"js-pull", js_pull},
    {"js-ordered", js_ordered},
    {"js-push", js_push},
    {"core", core},
    {"kv-restart", kv_restart},
    {"faults", faults},
};

// Where a scenario that cannot go on is left.
static jmp_buf next_scenario;

void stop(world *w, const char *why) {
    say(w, "stopped", "error", why);
    longjmp(next_scenario, 1);
}

void must(world *w, natsStatus status) {
    if (status != NATS_OK) {
        failure(w, "stopped", status, 0);
        longjmp(next_scenario, 1);
    }
}

static void play(world *w, void (*run)(world *w)) {
    if (setjmp(next_scenario) == 0) {
        run(w);
    }
}

static uint64_t reconnects(world *w) {
    natsStatistics *statistics = NULL;
    uint64_t counts[5] = {0};
    must(w, natsStatistics_Create(&statistics));
    must(w, natsConnection_GetStats(w->nc, statistics));
    natsStatistics_GetCounts(statistics, &counts[0], &counts[1], &counts[2], &counts[3], &counts[4]);
    natsStatistics_Destroy(statistics);
    return counts[4];
}

// Has the harness stop the server by a signal and start it again, and returns when the connection stands again.
void ask(world *w, const char *signal) {
    uint64_t before = reconnects(w);
    char answer[64];
    printf("{\"ask\":\"%s\"}\n", signal);
    fflush(stdout);
    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        stop(w, "no answer from the harness");
    }
    int64_t deadline = nats_Now() + PATIENCE_MS;
    while (reconnects(w) == before) {
        if (nats_Now() > deadline) {
            stop(w, "no connection after the restart");
        }
        nats_Sleep(5);
    }
    must(w, natsConnection_FlushTimeout(w->nc, PATIENCE_MS));
}

static void fatal(const char *what, natsStatus status) {
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s %s\n", what, natsStatus_GetText(status), nats_GetLastError(NULL));
        exit(1);
    }
}

int main(int argc, char **argv) {
    natsOptions *options = NULL;
    world w = {.scenario = "driver"};
    if (argc != 3) {
        fprintf(stderr, "usage: driver URL SCENARIO\n");
        return 2;
    }
    fatal("options", natsOptions_Create(&options));
    fatal("url", natsOptions_SetURL(options, argv[1]));
    fatal("name", natsOptions_SetName(options, "driver"));
    fatal("reconnects", natsOptions_SetMaxReconnect(options, -1));
    fatal("reconnect wait", natsOptions_SetReconnectWait(options, 50));
    fatal("reconnect jitter", natsOptions_SetReconnectJitter(options, 0, 0));
    fatal("connect", natsConnection_Connect(&w.nc, options));
    jsOptions js_options;
    jsOptions_Init(&js_options);
    js_options.Wait = PATIENCE_MS;
    js_options.PublishAsync.MaxPending = 4096;
    js_options.PublishAsync.StallWait = PATIENCE_MS;
    fatal("jetstream", natsConnection_JetStream(&w.js, w.nc, &js_options));
    for (int i = 0; i < LENGTH(scenarios); i++) {
        bool is_in_all = strcmp(argv[2], "all") == 0 && strcmp(scenarios[i].name, "faults") != 0;
        if (is_in_all || strcmp(argv[2], scenarios[i].name) == 0) {
            w.scenario = scenarios[i].name;
            play(&w, scenarios[i].run);
        }
    }
    jsCtx_Destroy(w.js);
    natsConnection_Destroy(w.nc);
    natsOptions_Destroy(options);
    nats_Close();
    return 0;
}
