// Values: reading and writing them, their histories, the keys of a bucket, and the end of keys.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static void get(world *w, const char *step, kvStore *kv, const char *key) {
    kvEntry *e = NULL;
    natsStatus status = kvStore_Get(&e, kv, key);
    entry(w, step, status, e);
}

static void get_revision(world *w, const char *step, kvStore *kv, const char *key, uint64_t revision) {
    kvEntry *e = NULL;
    natsStatus status = kvStore_GetRevision(&e, kv, key, revision);
    entry(w, step, status, e);
}

static uint64_t create(world *w, const char *step, kvStore *kv, const char *key, const char *value) {
    uint64_t revision = 0;
    natsStatus status = kvStore_CreateString(&revision, kv, key, value);
    number(w, step, status, revision);
    return revision;
}

static void change(world *w, const char *step, kvStore *kv, const char *key, const char *value, uint64_t last) {
    uint64_t revision = 0;
    natsStatus status = kvStore_UpdateString(&revision, kv, key, value, last);
    number(w, step, status, revision);
}

// A write with headers that the library's own calls do not set.
static void send_with(world *w, const char *step, const char *subject, const char *data,
                      const char *const *headers, uint64_t revision) {
    jsErrCode code = 0;
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.ExpectLastSubjectSeq = revision;
    natsMsg *msg = message_with(w, subject, data, headers);
    natsStatus status = js_PublishMsg(NULL, w->js, msg, &options, &code);
    outcome(w, step, status, code);
    natsMsg_Destroy(msg);
}

static void put_and_get(world *w, kvStore *kv) {
    const char *values[] = {"one", "two", "three", "four"};
    for (int i = 0; i < LENGTH(values); i++) {
        uint64_t revision = 0;
        natsStatus status = kvStore_PutString(&revision, kv, "k", values[i]);
        number(w, "put", status, revision);
    }
    get(w, "get", kv, "k");
    const uint64_t revisions[] = {2, 1, 99, 0};
    for (int i = 0; i < LENGTH(revisions); i++) {
        get_revision(w, phrase("get revision %d", (int)revisions[i]), kv, "k", revisions[i]);
    }
    get_revision(w, "get a revision of another key", kv, "other", 2);
    get(w, "get a missing key", kv, "missing");
    uint64_t revision = 0;
    natsStatus status = kvStore_Put(&revision, kv, "empty", NULL, 0);
    number(w, "put nothing", status, revision);
    get(w, "get nothing", kv, "empty");
}

static void remove_and_create(world *w, kvStore *kv) {
    const char *deletion[] = {"KV-Operation", "DEL", NULL};
    const char *purge[] = {"KV-Operation", "PURGE", "Nats-Rollup", "sub", NULL};
    outcome(w, "delete", kvStore_Delete(kv, "new"), 0);
    get(w, "get deleted", kv, "new");
    outcome(w, "delete again", kvStore_Delete(kv, "new"), 0);
    outcome(w, "delete a missing key", kvStore_Delete(kv, "nothing"), 0);
    uint64_t revision = create(w, "create after delete", kv, "new", "reborn");
    send_with(w, "delete at a wrong revision", "$KV.values.new", NULL, deletion, 1);
    send_with(w, "delete at the revision", "$KV.values.new", NULL, deletion, revision);
    send_with(w, "purge at a wrong revision", "$KV.values.k", NULL, purge, 1);
    outcome(w, "purge", kvStore_Purge(kv, "k", NULL), 0);
    history(w, "history after purge", kv, "k");
    create(w, "create after purge", kv, "k", "after purge");
    create(w, "create again after purge", kv, "k", "too late");
}

// Puts, reads and removes values in both kinds of storage.
void kv_values(world *w) {
    const jsStorageType storages[] = {js_FileStorage, js_MemoryStorage};
    for (int i = 0; i < LENGTH(storages); i++) {
        kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "values", .History = 3, .StorageType = storages[i]});
        put_and_get(w, kv);
        uint64_t created = create(w, "create", kv, "new", "fresh");
        create(w, "create again", kv, "new", "again");
        change(w, "update", kv, "new", "second", created);
        change(w, "update late", kv, "new", "late", created);
        change(w, "update a missing key", kv, "unborn", "x", 7);
        change(w, "update from zero", kv, "unborn", "x", 0);
        remove_and_create(w, kv);
        bucket_status(w, "status", kv);
        raw(w, "stream", "$JS.API.STREAM.INFO.KV_values", "{\"subjects_filter\":\">\"}");
        drop_bucket(w, kv);
    }
}

// Reads histories at and over their limit.
void kv_history(world *w) {
    const uint8_t depths[] = {1, 5, 64};
    for (int i = 0; i < LENGTH(depths); i++) {
        kvStore *kv = make_bucket(w, (kvConfig){.Bucket = phrase("history-%d", depths[i]), .History = depths[i]});
        for (int j = 0; j < 8; j++) {
            write_value(w, kv, "a.b", phrase("%d", j));
            write_value(w, kv, "a.c", phrase("%d", j));
        }
        must(w, kvStore_Delete(kv, "a.b"));
        history(w, phrase("history of depth %d", depths[i]), kv, "a.b");
        history(w, phrase("wildcard at depth %d", depths[i]), kv, "a.*");
        history(w, "missing key", kv, "nothing");
        drop_bucket(w, kv);
    }
}

void keys(world *w, const char *step, kvStore *kv) {
    kvKeysList found = {0};
    natsStatus status = kvStore_Keys(&found, kv, NULL);
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    list(w, step, found.Keys, found.Count);
    kvKeysList_Destroy(&found);
}

// The library lists all keys only; those of a filter are what a watcher of their names sees at first.
static void keys_of(world *w, kvStore *kv, const char *filter) {
    kvWatchOptions options = {.IgnoreDeletes = true, .MetaOnly = true};
    kvWatcher *watcher = NULL;
    kvEntry *e = NULL;
    char *found[16];
    int count = 0;
    must(w, kvStore_Watch(&watcher, kv, filter, &options));
    for (;;) {
        must(w, kvWatcher_Next(&e, watcher, PATIENCE_MS));
        if (e == NULL || count == LENGTH(found)) {
            break;
        }
        found[count++] = strdup(kvEntry_Key(e));
        kvEntry_Destroy(e);
    }
    list(w, phrase("filter %s", filter), found, count);
    while (count > 0) {
        free(found[--count]);
    }
    kvWatcher_Destroy(watcher);
}

// Lists keys, all and by a filter.
void kv_keys(world *w) {
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "keys", .History = 5});
    keys(w, "keys of an empty bucket", kv);
    const char *names[] = {"a.b.c", "a.b.d", "a.x", "b", "c.1", "c.2", "gone", "purged"};
    for (int i = 0; i < LENGTH(names); i++) {
        write_value(w, kv, names[i], "v");
        write_value(w, kv, names[i], "v");
    }
    must(w, kvStore_Delete(kv, "gone"));
    must(w, kvStore_Purge(kv, "purged", NULL));
    keys(w, "keys", kv);
    const char *filters[] = {"a.>", "*", "c.*", "a.b.*", "nothing", "gone", "*.*.d", ">"};
    for (int i = 0; i < LENGTH(filters); i++) {
        keys_of(w, kv, filters[i]);
    }
    drop_bucket(w, kv);
}

// Removes markers: young ones stay unless told otherwise.
void kv_purge_deletes(world *w) {
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "graves", .History = 5});
    const char *names[] = {"a", "b", "c"};
    for (int i = 0; i < LENGTH(names); i++) {
        for (int j = 0; j < 3; j++) {
            write_value(w, kv, names[i], "v");
        }
    }
    must(w, kvStore_Delete(kv, "a"));
    must(w, kvStore_Purge(kv, "b", NULL));
    outcome(w, "young markers stay", kvStore_PurgeDeletes(kv, NULL), 0);
    history(w, "a", kv, "a");
    history(w, "b", kv, "b");
    kvPurgeOptions all;
    kvPurgeOptions_Init(&all);
    all.DeleteMarkersOlderThan = -1;
    outcome(w, "all markers go", kvStore_PurgeDeletes(kv, &all), 0);
    history(w, "a after", kv, "a");
    history(w, "b after", kv, "b");
    history(w, "c after", kv, "c");
    bucket_status(w, "status", kv);
    drop_bucket(w, kv);
}

// A bucket's TTL, which the library offers: no marker says that a key is gone, so it is asked for until it is.
static void age_out(world *w) {
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "aged", .TTL = SECOND_NS});
    write_value(w, kv, "k", "x");
    natsStatus status = NATS_OK;
    int64_t deadline = nats_Now() + PATIENCE_MS;
    while (status == NATS_OK && nats_Now() < deadline) {
        kvEntry *e = NULL;
        status = kvStore_Get(&e, kv, "k");
        kvEntry_Destroy(e);
        nats_Sleep(20);
    }
    outcome(w, "get aged out", status, 0);
    bucket_status(w, "status after the age", kv);
    create(w, "create after the age", kv, "k", "again");
    drop_bucket(w, kv);
}

// Lets keys expire and sees the markers that take their place. The library knows no TTLs of single keys: it opens a
// bucket that another tool made with them, and sends the headers itself.
void kv_ttl(world *w) {
    const char *one_second[] = {"Nats-TTL", "1s", NULL};
    const char *too_short[] = {"Nats-TTL", "1ms", NULL};
    const char *purge[] = {"KV-Operation", "PURGE", "Nats-Rollup", "sub", "Nats-TTL", "1s", NULL};
    const char *config = "{\"name\":\"KV_markers\",\"subjects\":[\"$KV.markers.>\"],\"max_msgs_per_subject\":1,"
                         "\"discard\":\"new\",\"storage\":\"file\",\"num_replicas\":1,\"allow_rollup_hdrs\":true,"
                         "\"deny_delete\":true,\"allow_direct\":true,\"allow_msg_ttl\":true,"
                         "\"subject_delete_marker_ttl\":60000000000}";
    kvStore *kv = NULL;
    kvWatcher *watcher = NULL;
    raw(w, "bucket with markers", "$JS.API.STREAM.CREATE.KV_markers", config);
    must(w, js_KeyValue(&kv, w->js, "markers"));
    must(w, kvStore_WatchAll(&watcher, kv, NULL));
    take(w, "watch", watcher, 1);
    send_with(w, "put with a TTL", "$KV.markers.short", "x", one_second, 0);
    take(w, "watch", watcher, 2);
    get(w, "get expired", kv, "short");
    raw(w, "marker", "$JS.API.STREAM.MSG.GET.KV_markers", "{\"last_by_subj\":\"$KV.markers.short\"}");
    create(w, "create after expiry", kv, "short", "again");
    send_with(w, "put with a TTL under a second", "$KV.markers.tiny", "x", too_short, 0);
    write_value(w, kv, "short", "again");
    take(w, "watch", watcher, 1);
    send_with(w, "purge with a TTL", "$KV.markers.short", NULL, purge, 0);
    take(w, "watch", watcher, 1);
    kvWatcher_Destroy(watcher);
    drop_bucket(w, kv);
    kv = make_bucket(w, (kvConfig){.Bucket = "plain"});
    send_with(w, "put with a TTL where TTLs are off", "$KV.plain.k", "x", one_second, 0);
    drop_bucket(w, kv);
    age_out(w);
}
