// Watching: what a watcher sees at first, while others write, of many keys, and over restarts.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"

// How long to look for updates that should not be there.
#define EXTRA_MS 30

// Reports what a watcher gave, an update or the mark that all initial values have come, and frees it.
static void report(world *w, const char *step, kvEntry *e) {
    open_line(w, step);
    if (e == NULL) {
        put_flag("mark", true);
    } else {
        put_update(e);
    }
    close_line();
    kvEntry_Destroy(e);
}

// Reports the next updates of a watcher; the mark counts as one.
void take(world *w, const char *step, kvWatcher *watcher, int count) {
    for (int i = 0; i < count; i++) {
        kvEntry *e = NULL;
        natsStatus status = kvWatcher_Next(&e, watcher, PATIENCE_MS);
        if (status != NATS_OK) {
            failure(w, step, status, 0);
            return;
        }
        report(w, step, e);
    }
}

// Reports updates that should not be there, and ends the watcher.
void extra(world *w, const char *step, kvWatcher *watcher) {
    kvEntry *e = NULL;
    must(w, natsConnection_FlushTimeout(w->nc, PATIENCE_MS));
    while (kvWatcher_Next(&e, watcher, EXTRA_MS) == NATS_OK) {
        report(w, phrase("%s, unexpected", step), e);
    }
    outcome(w, phrase("%s, stop", step), kvWatcher_Stop(watcher), 0);
    kvWatcher_Destroy(watcher);
}

// What one watcher looks for, and how much it sees at first and after the writes that follow.
typedef struct {
    const char *step;
    const char *bucket;
    const char *keys;
    int first;
    int further;
    kvWatchOptions options;
} watch_case;

// Watches a bucket with known values from before and writes while the watcher looks on.
static void watch_fresh(world *w, const watch_case *watch) {
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = watch->bucket, .History = 5});
    write_value(w, kv, "a.1", "one");
    write_value(w, kv, "a.1", "two");
    write_value(w, kv, "a.2", "one");
    write_value(w, kv, "b", "one");
    write_value(w, kv, "gone", "one");
    must(w, kvStore_Delete(kv, "gone"));
    kvWatchOptions options = watch->options;
    kvWatcher *watcher = NULL;
    must(w, kvStore_Watch(&watcher, kv, watch->keys, &options));
    take(w, watch->step, watcher, watch->first);
    write_value(w, kv, "a.1", "further");
    write_value(w, kv, "b", "further");
    must(w, kvStore_Delete(kv, "a.2"));
    must(w, kvStore_Purge(kv, "b", NULL));
    take(w, watch->step, watcher, watch->further);
    extra(w, watch->step, watcher);
    drop_bucket(w, kv);
}

// Watches with each option.
void kv_watch(world *w) {
    const watch_case cases[] = {
        {"all", "fresh-all", ">", 5, 4, {0}},
        {"one key", "fresh-one", "b", 2, 2, {0}},
        {"missing key", "fresh-missing", "nothing", 1, 0, {0}},
        {"wildcard", "fresh-wildcard", "a.*", 3, 2, {0}},
        {"history", "fresh-history", ">", 7, 4, {.IncludeHistory = true}},
        {"history of a key", "fresh-history-key", "a.1", 3, 1, {.IncludeHistory = true}},
        {"ignore deletes", "fresh-ignore", ">", 4, 2, {.IgnoreDeletes = true}},
        {"meta only", "fresh-meta", ">", 5, 4, {.MetaOnly = true}},
        {"history without values", "fresh-history-meta", ">", 7, 4, {.IncludeHistory = true, .MetaOnly = true}},
    };
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "watch", .History = 5});
    kvWatcher *watcher = NULL;
    must(w, kvStore_WatchAll(&watcher, kv, NULL));
    take(w, "empty bucket", watcher, 1);
    extra(w, "empty bucket", watcher);
    for (int i = 0; i < LENGTH(cases); i++) {
        watch_fresh(w, &cases[i]);
    }
    outcome(w, "no key", kvStore_Watch(&watcher, kv, "", NULL), 0);
    outcome(w, "bad key", kvStore_Watch(&watcher, kv, "a..b", NULL), 0);
    raw(w, "consumers left", "$JS.API.CONSUMER.NAMES.KV_watch", "");
    drop_bucket(w, kv);
}

// Counts what a watcher sees until it has seen so many values and the mark.
static void follow(world *w, const char *step, kvWatcher *watcher, int writes) {
    uint64_t last = 0;
    bool ordered = true;
    int count = 0;
    int marks = 0;
    while (count < writes || marks == 0) {
        kvEntry *e = NULL;
        if (kvWatcher_Next(&e, watcher, PATIENCE_MS) != NATS_OK) {
            stop(w, phrase("%s: silent after %d", step, count));
        }
        if (e == NULL) {
            marks++;
            continue;
        }
        count++;
        ordered = ordered && kvEntry_Revision(e) > last;
        last = kvEntry_Revision(e);
        kvEntry_Destroy(e);
    }
    open_line(w, step);
    put_number("count", (uint64_t)count);
    put_number("marks", (uint64_t)marks);
    put_number("last", last);
    put_flag("ordered", ordered);
    close_line();
}

static void publish_all_acknowledged(world *w) {
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.MaxWait = PATIENCE_MS;
    must(w, js_PublishAsyncComplete(w->js, &options));
}

static void publish_text(world *w, const char *subject, const char *text) {
    must(w, js_PublishAsync(w->js, subject, text, (int)strlen(text), NULL));
}

// Has watchers follow a bucket while it is written to.
void kv_watch_writing(world *w) {
    const int writes = 2000;
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "writing"});
    kvWatcher *all = NULL;
    kvWatcher *some = NULL;
    must(w, kvStore_WatchAll(&all, kv, NULL));
    must(w, kvStore_Watch(&some, kv, "k.1.*", NULL));
    for (int i = 0; i < writes; i++) {
        publish_text(w, phrase("$KV.writing.k.%d.%d", i % 10, i), phrase("%d", i));
    }
    follow(w, "all", all, writes);
    follow(w, "some", some, writes / 10);
    extra(w, "all", all);
    extra(w, "some", some);
    publish_all_acknowledged(w);
    drop_bucket(w, kv);
}

// Works with two buckets that must not see each other.
void kv_two(world *w) {
    kvStore *a = make_bucket(w, (kvConfig){.Bucket = "two", .History = 5});
    kvStore *b = make_bucket(w, (kvConfig){.Bucket = "two-b", .History = 5, .StorageType = js_MemoryStorage});
    kvWatcher *watch_a = NULL;
    kvWatcher *watch_b = NULL;
    must(w, kvStore_WatchAll(&watch_a, a, NULL));
    must(w, kvStore_WatchAll(&watch_b, b, NULL));
    take(w, "watch a", watch_a, 1);
    take(w, "watch b", watch_b, 1);
    for (int i = 0; i < 3; i++) {
        uint64_t revision = 0;
        natsStatus status = kvStore_PutString(&revision, a, "k", phrase("a%d", i));
        number(w, "put to a", status, revision);
        status = kvStore_PutString(&revision, b, "k", phrase("b%d", i));
        number(w, "put to b", status, revision);
    }
    take(w, "watch a", watch_a, 3);
    extra(w, "watch a", watch_a);
    take(w, "watch b", watch_b, 3);
    extra(w, "watch b", watch_b);
    drop_bucket(w, a);
    kvEntry *e = NULL;
    natsStatus status = kvStore_Get(&e, b, "k");
    entry(w, "b after the end of a", status, e);
    drop_bucket(w, b);
}

// What a watcher sees before its mark.
static void initial_values(world *w, const char *step, kvStore *kv, const char *key, kvWatchOptions options) {
    kvWatcher *watcher = NULL;
    uint64_t count = 0;
    uint64_t bytes = 0;
    must(w, kvStore_Watch(&watcher, kv, key, &options));
    for (;;) {
        kvEntry *e = NULL;
        must(w, kvWatcher_Next(&e, watcher, PATIENCE_MS));
        if (e == NULL) {
            break;
        }
        count++;
        bytes += (uint64_t)kvEntry_ValueLen(e);
        kvEntry_Destroy(e);
    }
    open_line(w, step);
    put_number("count", count);
    put_number("bytes", bytes);
    close_line();
    kvWatcher_Destroy(watcher);
}

// Writes 100,000 keys, lists them and watches them.
void kv_many(world *w) {
    const int count = 100000;
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "many"});
    for (int i = 0; i < count; i++) {
        publish_text(w, phrase("$KV.many.group%d.key%d", i % 100, i), phrase("value %d", i));
    }
    publish_all_acknowledged(w);
    bucket_status(w, "status", kv);
    kvKeysList keys = {0};
    natsStatus status = kvStore_Keys(&keys, kv, NULL);
    number(w, "keys", status, (uint64_t)keys.Count);
    kvKeysList_Destroy(&keys);
    initial_values(w, "keys of a group", kv, "group7.>", (kvWatchOptions){.IgnoreDeletes = true, .MetaOnly = true});
    initial_values(w, "initial values", kv, ">", (kvWatchOptions){0});
    const int some[] = {0, 4711, count - 1};
    for (int i = 0; i < LENGTH(some); i++) {
        kvEntry *e = NULL;
        status = kvStore_Get(&e, kv, phrase("group%d.key%d", some[i] % 100, some[i]));
        entry(w, "get", status, e);
    }
    drop_bucket(w, kv);
}

static void put_all(world *w, const char *step, kvStore *kv) {
    for (int i = 0; i < 5; i++) {
        uint64_t revision = 0;
        natsStatus status = kvStore_PutString(&revision, kv, phrase("k%d", i), step);
        number(w, step, status, revision);
    }
}

// Keeps a watcher on a bucket while the server is killed and ended and started again. The library makes the watcher's
// consumer anew when its sequence breaks off, or, within twenty seconds, when its heartbeats stay away.
void kv_restart(world *w) {
    const char *signals[] = {"KILL", "TERM"};
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "restart", .History = 10});
    kvWatcher *watcher = NULL;
    for (int i = 0; i < 5; i++) {
        write_value(w, kv, phrase("k%d", i), "at first");
    }
    must(w, kvStore_WatchAll(&watcher, kv, NULL));
    take(w, "watch", watcher, 6);
    for (int i = 0; i < LENGTH(signals); i++) {
        put_all(w, phrase("put before %s", signals[i]), kv);
        ask(w, signals[i]);
        put_all(w, phrase("put after %s", signals[i]), kv);
        take(w, phrase("watch over %s", signals[i]), watcher, 10);
        history(w, phrase("history after %s", signals[i]), kv, "k2");
    }
    extra(w, "watch", watcher);
    bucket_status(w, "status", kv);
    drop_bucket(w, kv);
}
