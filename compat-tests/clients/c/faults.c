// What the harness asks for, line by line, while it has the server fail.

#include <stdio.h>
#include <string.h>

#include "driver.h"

// Bounds what is to come too late.
#define BRIEF_MS 250
#define LINE_MAX_BYTES 256

// What lasts from one line to the next.
typedef struct {
    kvStore *patient;
    kvStore *hasty;
    natsSubscription *sub;
} state;

static void put(world *w, const char *step, kvStore *kv, const char *key, const char *value) {
    uint64_t revision = 0;
    natsStatus status = kvStore_PutString(&revision, kv, key, value);
    number(w, step, status, revision);
}

static void get(world *w, const char *step, kvStore *kv, const char *key) {
    kvEntry *e = NULL;
    natsStatus status = kvStore_Get(&e, kv, key);
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    open_line(w, step);
    put_value("value", kvEntry_Value(e), kvEntry_ValueLen(e));
    put_number("revision", kvEntry_Revision(e));
    close_line();
    kvEntry_Destroy(e);
}

static void info(world *w, const char *step) {
    jsStreamInfo *si = NULL;
    jsErrCode code = 0;
    natsStatus status = js_GetStreamInfo(&si, w->js, "KV_b", NULL, &code);
    outcome(w, step, status, code);
    jsStreamInfo_Destroy(si);
}

static void message(world *w, const char *step, natsStatus status, natsMsg *msg) {
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    open_line(w, step);
    put_value("value", natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
    close_line();
    natsMsg_Destroy(msg);
}

static void run(world *w, state *s, const char *name, const char *first, const char *second) {
    bool is_brief = strstr(name, "-briefly") != NULL;
    kvStore *kv = is_brief ? s->hasty : s->patient;
    int64_t limit_ms = is_brief ? BRIEF_MS : PATIENCE_MS;
    natsMsg *msg = NULL;
    if (strncmp(name, "put", 3) == 0) {
        put(w, name, kv, first, second);
    } else if (strncmp(name, "get", 3) == 0) {
        get(w, name, kv, first);
    } else if (strcmp(name, "info") == 0) {
        info(w, name);
    } else if (strcmp(name, "keys") == 0) {
        keys(w, name, kv);
    } else if (strncmp(name, "request", 7) == 0) {
        natsStatus status = natsConnection_RequestString(&msg, w->nc, first, second, limit_ms);
        message(w, name, status, msg);
    } else if (strcmp(name, "publish") == 0) {
        outcome(w, name, natsConnection_PublishString(w->nc, first, second), 0);
    } else if (strcmp(name, "subscribe") == 0) {
        natsSubscription_Destroy(s->sub);
        must(w, natsConnection_SubscribeSync(&s->sub, w->nc, first));
        outcome(w, name, natsConnection_FlushTimeout(w->nc, PATIENCE_MS), 0);
    } else {
        natsStatus status = natsSubscription_NextMsg(&msg, s->sub, limit_ms);
        message(w, name, status, msg);
    }
}

void faults(world *w) {
    state s = {0};
    jsCtx *hasty = NULL;
    jsOptions options;
    char line[LINE_MAX_BYTES];
    jsOptions_Init(&options);
    options.Wait = BRIEF_MS;
    must(w, natsConnection_JetStream(&hasty, w->nc, &options));
    must(w, js_KeyValue(&s.patient, w->js, "b"));
    must(w, js_KeyValue(&s.hasty, hasty, "b"));
    open_line(w, "ready");
    close_line();
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *name = strtok(line, " \n");
        char *first = strtok(NULL, " \n");
        char *second = strtok(NULL, " \n");
        if (name != NULL) {
            run(w, &s, name, first == NULL ? "" : first, second == NULL ? "" : second);
        }
    }
    natsSubscription_Destroy(s.sub);
    kvStore_Destroy(s.patient);
    kvStore_Destroy(s.hasty);
    jsCtx_Destroy(hasty);
}
