// Core NATS: publishing, requests, queue groups and limits, without JetStream.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"

#define SENT 50
// Each message goes to one member of each of two groups and to the one plain subscription.
#define RECEIVED (3 * SENT)

// What the subscriptions' threads received.
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t grown;
    char texts[RECEIVED * 2][32];
    int count;
} collection;

// A subscription of a queue group and where it brings its messages.
typedef struct {
    const char *group;
    collection *seen;
} member;

static void collect(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    const member *self = closure;
    collection *seen = self->seen;
    (void)nc;
    (void)sub;
    pthread_mutex_lock(&seen->lock);
    if (seen->count < LENGTH(seen->texts)) {
        snprintf(seen->texts[seen->count], sizeof(seen->texts[0]), "%s %s", self->group, natsMsg_GetData(msg));
        seen->count++;
    }
    pthread_cond_signal(&seen->grown);
    pthread_mutex_unlock(&seen->lock);
    natsMsg_Destroy(msg);
}

// Whether so many messages came in time.
static bool wait_for(collection *seen, int count) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_MS / 1000;
    int late = 0;
    pthread_mutex_lock(&seen->lock);
    while (seen->count < count && late == 0) {
        late = pthread_cond_timedwait(&seen->grown, &seen->lock, &deadline);
    }
    bool complete = seen->count >= count;
    pthread_mutex_unlock(&seen->lock);
    return complete;
}

static void message_with_headers(world *w) {
    const char *headers[] = {"K", "v1", "K", "v2", NULL};
    natsSubscription *sub = NULL;
    natsMsg *got = NULL;
    must(w, natsConnection_SubscribeSync(&sub, w->nc, "core.>"));
    natsMsg *msg = message_with(w, "core.a.b", "data", headers);
    must(w, natsConnection_PublishMsg(w->nc, msg));
    natsMsg_Destroy(msg);
    must(w, natsSubscription_NextMsg(&got, sub, PATIENCE_MS));
    open_line(w, "message");
    put_text("subject", natsMsg_GetSubject(got));
    put_value("data", natsMsg_GetData(got), natsMsg_GetDataLength(got));
    put_headers(got);
    close_line();
    natsMsg_Destroy(got);
    must(w, natsSubscription_Unsubscribe(sub));
    natsSubscription_Destroy(sub);
}

static void answer(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    char text[128];
    (void)sub;
    (void)closure;
    snprintf(text, sizeof(text), "answer to %s on %s", natsMsg_GetData(msg), natsMsg_GetSubject(msg));
    natsConnection_PublishString(nc, natsMsg_GetReply(msg), text);
    natsMsg_Destroy(msg);
}

static void requests(world *w) {
    natsSubscription *sub = NULL;
    must(w, natsConnection_Subscribe(&sub, w->nc, "ask.*", answer, NULL));
    raw(w, "request", "ask.me", "question");
    must(w, natsSubscription_Unsubscribe(sub));
    natsSubscription_Destroy(sub);
    raw(w, "no responders", "nobody.here", "");
}

static void queue_groups(world *w) {
    const char *groups[] = {"one", "one", "one", "two", "two", ""};
    natsSubscription *subs[LENGTH(groups)] = {0};
    // They outlive the subscriptions' threads, whatever stops the scenario.
    static member members[LENGTH(groups)];
    static collection seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .grown = PTHREAD_COND_INITIALIZER};
    for (int i = 0; i < LENGTH(groups); i++) {
        members[i] = (member){.group = groups[i], .seen = &seen};
        if (groups[i][0] == '\0') {
            must(w, natsConnection_Subscribe(&subs[i], w->nc, "queue.>", collect, &members[i]));
        } else {
            must(w, natsConnection_QueueSubscribe(&subs[i], w->nc, "queue.*", groups[i], collect, &members[i]));
        }
    }
    for (int i = 0; i < SENT; i++) {
        must(w, natsConnection_PublishString(w->nc, "queue.x", phrase("%02d", i)));
    }
    bool complete = wait_for(&seen, RECEIVED);
    must(w, natsConnection_FlushTimeout(w->nc, PATIENCE_MS));
    for (int i = 0; i < LENGTH(groups); i++) {
        must(w, natsSubscription_Drain(subs[i]));
        must(w, natsSubscription_WaitForDrainCompletion(subs[i], PATIENCE_MS));
        natsSubscription_Destroy(subs[i]);
    }
    if (!complete) {
        stop(w, "queue groups are silent");
    }
    char *texts[LENGTH(seen.texts)];
    for (int i = 0; i < seen.count; i++) {
        texts[i] = seen.texts[i];
    }
    list(w, "queue groups", texts, seen.count);
}

static void limited_subscription(world *w) {
    natsSubscription *sub = NULL;
    must(w, natsConnection_SubscribeSync(&sub, w->nc, "limited"));
    must(w, natsSubscription_AutoUnsubscribe(sub, 2));
    for (int i = 0; i < 4; i++) {
        must(w, natsConnection_PublishString(w->nc, "limited", ""));
    }
    must(w, natsConnection_FlushTimeout(w->nc, PATIENCE_MS));
    for (int i = 0; i < 3; i++) {
        natsMsg *msg = NULL;
        outcome(w, "auto-unsubscribe", natsSubscription_NextMsg(&msg, sub, PATIENCE_MS), 0);
        natsMsg_Destroy(msg);
    }
    natsSubscription_Destroy(sub);
}

// Sends, asks and shares among queue groups.
void core(world *w) {
    message_with_headers(w);
    requests(w);
    queue_groups(w);
    limited_subscription(w);
    int64_t payload_max = natsConnection_GetMaxPayload(w->nc);
    char *large = calloc(1, (size_t)payload_max + 1);
    outcome(w, "too large", natsConnection_Publish(w->nc, "x", large, (int)payload_max + 1), 0);
    free(large);
    number(w, "max payload", NATS_OK, (uint64_t)payload_max);
    outcome(w, "headers supported", natsConnection_HasHeaderSupport(w->nc), 0);
    outcome(w, "subscribe to a bad subject", natsConnection_SubscribeSync(&(natsSubscription *){NULL}, w->nc, "a..b"), 0);
}
