// Buckets: their options, names, limits and management.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

kvStore *make_bucket(world *w, kvConfig config) {
    kvStore *kv = NULL;
    must(w, js_CreateKeyValue(&kv, w->js, &config));
    return kv;
}

void drop_bucket(world *w, kvStore *kv) {
    must(w, js_DeleteKeyValue(w->js, kvStore_Bucket(kv)));
    kvStore_Destroy(kv);
}

void write_value(world *w, kvStore *kv, const char *key, const char *value) {
    must(w, kvStore_PutString(NULL, kv, key, value));
}

static const char *operation_name(kvOperation operation) {
    switch (operation) {
    case kvOp_Put:
        return "put";
    case kvOp_Delete:
        return "delete";
    case kvOp_Purge:
        return "purge";
    default:
        return "unknown";
    }
}

// All of an entry but how many more values were on their way, which a watcher's moment decides.
void put_update(kvEntry *e) {
    put_text("bucket", kvEntry_Bucket(e));
    put_text("key", kvEntry_Key(e));
    put_value("value", kvEntry_Value(e), kvEntry_ValueLen(e));
    put_number("revision", kvEntry_Revision(e));
    put_text("operation", operation_name(kvEntry_Operation(e)));
    put_flag("dated", kvEntry_Created(e) > 0);
}

static void entry_line(world *w, const char *step, kvEntry *e) {
    open_line(w, step);
    put_update(e);
    put_number("delta", kvEntry_Delta(e));
    close_line();
}

// Reports an entry, which it ends, or the status that came instead.
void entry(world *w, const char *step, natsStatus status, kvEntry *e) {
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    entry_line(w, step, e);
    kvEntry_Destroy(e);
}

void history(world *w, const char *step, kvStore *kv, const char *key) {
    kvEntryList entries = {0};
    natsStatus status = kvStore_History(&entries, kv, key, NULL);
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    for (int i = 0; i < entries.Count; i++) {
        entry_line(w, step, entries.Entries[i]);
    }
    kvEntryList_Destroy(&entries);
}

void bucket_status(world *w, const char *step, kvStore *kv) {
    kvStatus *found = NULL;
    natsStatus status = kvStore_Status(&found, kv);
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    open_line(w, step);
    put_text("bucket", kvStatus_Bucket(found));
    put_number("values", kvStatus_Values(found));
    put_number("history", (uint64_t)kvStatus_History(found));
    put_number("ttl_ns", (uint64_t)kvStatus_TTL(found));
    put_number("replicas", (uint64_t)kvStatus_Replicas(found));
    close_line();
    kvStatus_Destroy(found);
}

// Makes a bucket with each option and reads its status and its stream's configuration.
void kv_bucket(world *w) {
    jsRePublish again = {.Source = "$KV.republished.>", .Destination = "again.>", .HeadersOnly = true};
    jsRePublish cycle = {.Source = ">", .Destination = "$KV.republished.>"};
    const kvConfig configs[] = {
        {.Bucket = "plain"},
        {.Bucket = "memory", .StorageType = js_MemoryStorage},
        {.Bucket = "history", .History = 64},
        {.Bucket = "ttl", .TTL = 3600 * SECOND_NS},
        {.Bucket = "short-ttl", .TTL = 30 * SECOND_NS},
        {.Bucket = "sizes", .MaxValueSize = 1024, .MaxBytes = 1 << 20},
        {.Bucket = "described", .Description = "words of ünïcode"},
        {.Bucket = "replicas", .Replicas = 1},
        {.Bucket = "republished", .RePublish = &again},
        {.Bucket = "republished", .RePublish = &cycle},
        {.Bucket = "history-over", .History = 65},
        {.Bucket = "three", .Replicas = 3},
        {.Bucket = "ttl-short", .TTL = 1000},
    };
    for (int i = 0; i < LENGTH(configs); i++) {
        kvConfig config = configs[i];
        kvStore *kv = NULL;
        natsStatus status = js_CreateKeyValue(&kv, w->js, &config);
        if (status != NATS_OK) {
            failure(w, phrase("create %s", config.Bucket), status, 0);
            continue;
        }
        write_value(w, kv, "k", "value value value value value value value value value value value value value");
        bucket_status(w, phrase("status %s", config.Bucket), kv);
        raw(w, phrase("stream of %s", config.Bucket), phrase("$JS.API.STREAM.INFO.KV_%s", config.Bucket), "");
        drop_bucket(w, kv);
    }
}

// The library has no call that changes a bucket: its stream is what is changed.
static void update_buckets(world *w, kvStore *first) {
    jsErrCode code = 0;
    jsStreamInfo *info = NULL;
    must(w, js_GetStreamInfo(&info, w->js, "KV_first", NULL, NULL));
    jsStreamConfig config = *info->Config;
    config.MaxMsgsPerSubject = 4;
    config.Description = "changed";
    natsStatus status = js_UpdateStream(NULL, w->js, &config, NULL, &code);
    outcome(w, "update", status, code);
    bucket_status(w, "status after update", first);
    config.Storage = js_MemoryStorage;
    status = js_UpdateStream(NULL, w->js, &config, NULL, &code);
    outcome(w, "update storage", status, code);
    config.Storage = js_FileStorage;
    config.Name = "KV_missing";
    status = js_UpdateStream(NULL, w->js, &config, NULL, &code);
    outcome(w, "update a missing one", status, code);
    jsStreamInfo_Destroy(info);
}

static void list_buckets(world *w) {
    jsStreamNamesList *names = NULL;
    jsStreamInfoList *streams = NULL;
    must(w, js_StreamNames(&names, w->js, NULL, NULL));
    list(w, "names", names->List, names->Count);
    jsStreamNamesList_Destroy(names);
    must(w, js_Streams(&streams, w->js, NULL, NULL));
    char *seen[16];
    int count = 0;
    for (int i = 0; i < streams->Count && i < LENGTH(seen); i++) {
        const jsStreamInfo *info = streams->List[i];
        if (strncmp(info->Config->Name, "KV_", 3) == 0) {
            seen[count++] = strdup(phrase("%s %d %d", info->Config->Name + 3, (int)info->Config->MaxMsgsPerSubject,
                                          (int)info->State.Msgs));
        }
    }
    list(w, "list", seen, count);
    for (int i = 0; i < count; i++) {
        free(seen[i]);
    }
    jsStreamInfoList_Destroy(streams);
}

// Makes, changes, lists, opens and deletes buckets.
void kv_manage(world *w) {
    kvStore *first = make_bucket(w, (kvConfig){.Bucket = "first", .History = 2});
    kvStore *second = make_bucket(w, (kvConfig){.Bucket = "second", .StorageType = js_MemoryStorage});
    kvStore *other = NULL;
    kvConfig same = {.Bucket = "first", .History = 2};
    outcome(w, "create the same again", js_CreateKeyValue(&other, w->js, &same), 0);
    kvStore_Destroy(other);
    kvConfig longer = {.Bucket = "first", .History = 3};
    outcome(w, "create with another history", js_CreateKeyValue(&other, w->js, &longer), 0);
    update_buckets(w, first);
    list_buckets(w);
    other = NULL;
    outcome(w, "open", js_KeyValue(&other, w->js, "first"), 0);
    kvStore_Destroy(other);
    outcome(w, "open a missing one", js_KeyValue(&other, w->js, "missing"), 0);
    const char *names[] = {"first", "second", "first"};
    for (int i = 0; i < LENGTH(names); i++) {
        outcome(w, phrase("delete %s", names[i]), js_DeleteKeyValue(w->js, names[i]), 0);
    }
    kvEntry *e = NULL;
    natsStatus status = kvStore_Get(&e, first, "k");
    entry(w, "get from a deleted bucket", status, e);
    outcome(w, "put to a deleted bucket", kvStore_PutString(NULL, first, "k", "v"), 0);
    outcome(w, "delete in a deleted bucket", kvStore_Delete(first, "k"), 0);
    bucket_status(w, "status of a deleted bucket", first);
    history(w, "history in a deleted bucket", first, "k");
    kvStore_Destroy(first);
    kvStore_Destroy(second);
}

// Tries names that are no names.
void kv_names(world *w) {
    const char *names[] = {"", "a.b", "a b", "a*", ">", "a/b", "é", "ok_-9"};
    for (int i = 0; i < LENGTH(names); i++) {
        kvConfig config = {.Bucket = names[i]};
        kvStore *kv = NULL;
        outcome(w, phrase("bucket %s", names[i]), js_CreateKeyValue(&kv, w->js, &config), 0);
        kvStore_Destroy(kv);
    }
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "names"});
    char long_key[301];
    memset(long_key, 'k', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    const char *keys[] = {"",   "a b", ".a", "a.", "a..b", "a*", ">", "a/b", "é", "A=b-_c.1/x", "back\\slash",
                          "_kv", long_key};
    for (int i = 0; i < LENGTH(keys); i++) {
        uint64_t revision = 0;
        kvEntry *e = NULL;
        natsStatus status = kvStore_PutString(&revision, kv, keys[i], "x");
        number(w, phrase("put %s", keys[i]), status, revision);
        status = kvStore_Get(&e, kv, keys[i]);
        entry(w, phrase("get %s", keys[i]), status, e);
    }
    drop_bucket(w, kv);
    outcome(w, "delete ok_-9", js_DeleteKeyValue(w->js, "ok_-9"), 0);
}

// Puts a value of `size` times the letter.
static void put_sized(world *w, const char *step, kvStore *kv, const char *key, char letter, int size) {
    uint64_t revision = 0;
    char *value = malloc((size_t)size);
    if (value == NULL) {
        stop(w, "no memory for a value");
    }
    memset(value, letter, (size_t)size);
    natsStatus status = kvStore_Put(&revision, kv, key, value, size);
    number(w, step, status, revision);
    free(value);
}

// Overfills values and buckets.
void kv_limits(world *w) {
    kvStore *kv = make_bucket(w, (kvConfig){.Bucket = "limits", .MaxValueSize = 100, .MaxBytes = 1000});
    const int sizes[] = {70, 99, 100, 101, 5000};
    for (int i = 0; i < LENGTH(sizes); i++) {
        put_sized(w, phrase("put %d", sizes[i]), kv, phrase("size%d", sizes[i]), 'x', sizes[i]);
    }
    for (int i = 0; i < 10; i++) {
        put_sized(w, "fill", kv, phrase("fill%d", i), 'y', 90);
    }
    put_sized(w, "put over an older value when full", kv, "fill0", 'z', 1);
    outcome(w, "delete when full", kvStore_Delete(kv, "fill1"), 0);
    outcome(w, "purge when full", kvStore_Purge(kv, "fill1", NULL), 0);
    bucket_status(w, "status when full", kv);
    raw(w, "stream when full", "$JS.API.STREAM.INFO.KV_limits", "");
    drop_bucket(w, kv);
    kv = make_bucket(w, (kvConfig){.Bucket = "payload"});
    put_sized(w, "put a value as large as a message", kv, "big", 0, 1 << 20);
    put_sized(w, "put a value larger than a message", kv, "bigger", 0, (1 << 20) + 1);
    bucket_status(w, "status with a large value", kv);
    drop_bucket(w, kv);
}
