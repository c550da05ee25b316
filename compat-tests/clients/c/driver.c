// Walks through the list of KV steps with libnats and prints what it sees.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nats/nats.h>

static void must(const char *what, natsStatus status) {
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s %s\n", what, natsStatus_GetText(status), nats_GetLastError(NULL));
        exit(1);
    }
}

static void outcome(const char *step, natsStatus status, uint64_t revision) {
    if (status != NATS_OK) {
        printf("{\"step\":\"%s\",\"error\":\"%s\"}\n", step, natsStatus_GetText(status));
    } else {
        printf("{\"step\":\"%s\",\"revision\":%" PRIu64 "}\n", step, revision);
    }
}

static void show(const char *step, kvEntry *entry) {
    printf("{\"step\":\"%s\",\"key\":\"%s\",\"value\":\"%s\",\"revision\":%" PRIu64 ",\"operation\":%d}\n", step,
           kvEntry_Key(entry), kvEntry_ValueString(entry), kvEntry_Revision(entry), (int)kvEntry_Operation(entry));
}

static void showResult(const char *step, natsStatus status, kvEntry *entry) {
    if (status != NATS_OK) {
        outcome(step, status, 0);
        return;
    }
    show(step, entry);
    kvEntry_Destroy(entry);
}

static void history(kvStore *kv, const char *step) {
    const char *keys[] = {"k", "new", "nothing"};
    for (int i = 0; i < 3; i++) {
        kvEntryList list = {0};
        natsStatus status = kvStore_History(&list, kv, keys[i], NULL);
        if (status != NATS_OK) {
            outcome(step, status, 0);
            continue;
        }
        for (int j = 0; j < list.Count; j++) {
            show(step, list.Entries[j]);
        }
        kvEntryList_Destroy(&list);
    }
}

static int byText(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void values(kvStore *kv) {
    const char *texts[] = {"one", "two", "three", "four"};
    uint64_t revision = 0;
    uint64_t created = 0;
    kvEntry *entry = NULL;
    natsStatus status;
    for (int i = 0; i < 4; i++) {
        status = kvStore_PutString(&revision, kv, "k", texts[i]);
        outcome("put", status, revision);
    }
    status = kvStore_Get(&entry, kv, "k");
    showResult("get", status, entry);
    status = kvStore_GetRevision(&entry, kv, "k", 2);
    showResult("get revision", status, entry);
    status = kvStore_GetRevision(&entry, kv, "k", 1);
    showResult("get dropped revision", status, entry);
    status = kvStore_Get(&entry, kv, "missing");
    showResult("get missing", status, entry);
    status = kvStore_CreateString(&created, kv, "new", "fresh");
    outcome("create", status, created);
    status = kvStore_CreateString(&revision, kv, "new", "again");
    outcome("create again", status, 0);
    status = kvStore_UpdateString(&revision, kv, "new", "second", created);
    outcome("update", status, revision);
    status = kvStore_UpdateString(&revision, kv, "new", "late", created);
    outcome("update late", status, 0);
    outcome("delete", kvStore_Delete(kv, "new"), 0);
    status = kvStore_Get(&entry, kv, "new");
    showResult("get deleted", status, entry);
    status = kvStore_CreateString(&revision, kv, "new", "reborn");
    outcome("create after delete", status, revision);
    history(kv, "history");
    outcome("purge", kvStore_Purge(kv, "k", NULL), 0);
    history(kv, "history after purge");
    const char *names[] = {"", "a b", ".a", "a.", "a*", "a/b", "A=b-_c.1"};
    for (int i = 0; i < 7; i++) {
        char step[64];
        snprintf(step, sizeof(step), "put %s", names[i]);
        status = kvStore_PutString(&revision, kv, names[i], "x");
        outcome(step, status, status == NATS_OK ? revision : 0);
    }
    char *big = malloc(65537);
    memset(big, 'x', 65537);
    status = kvStore_Put(&revision, kv, "big", big, 65537);
    outcome("put too big", status, 0);
    free(big);
    kvKeysList keys = {0};
    must("keys", kvStore_Keys(&keys, kv, NULL));
    qsort(keys.Keys, (size_t)keys.Count, sizeof(char *), byText);
    for (int i = 0; i < keys.Count; i++) {
        printf("{\"step\":\"keys\",\"key\":\"%s\"}\n", keys.Keys[i]);
    }
    kvKeysList_Destroy(&keys);
}

// Prints what a watcher sees up to the given key at a revision or later.
static void follow(const char *step, kvWatcher *watcher, const char *last, uint64_t revision) {
    for (;;) {
        kvEntry *entry = NULL;
        must(step, kvWatcher_Next(&entry, watcher, 45000));
        if (entry == NULL) {
            printf("{\"step\":\"%s\",\"mark\":true}\n", step);
            continue;
        }
        show(step, entry);
        int done = strcmp(kvEntry_Key(entry), last) == 0 && kvEntry_Revision(entry) >= revision;
        kvEntry_Destroy(entry);
        if (done) {
            kvWatcher_Destroy(watcher);
            return;
        }
    }
}

static void watches(kvStore *kv) {
    const char *names[] = {"watch all", "watch history", "watch ignore deletes", "watch meta only"};
    for (int i = 0; i < 4; i++) {
        kvWatchOptions options;
        kvWatchOptions_Init(&options);
        options.IncludeHistory = i == 1;
        options.IgnoreDeletes = i == 2;
        options.MetaOnly = i == 3;
        kvWatcher *watcher = NULL;
        must("watch", kvStore_WatchAll(&watcher, kv, &options));
        // The changes shall come after the initial values.
        nats_Sleep(150);
        uint64_t revision = 0;
        must("put", kvStore_PutString(&revision, kv, "w", names[i]));
        must("delete", kvStore_Delete(kv, "w"));
        must("put", kvStore_PutString(&revision, kv, "end", names[i]));
        follow(names[i], watcher, "end", revision);
    }
}

static void refused(jsCtx *js) {
    const char *names[] = {"", "a.b", "a b", "*"};
    kvConfig config;
    kvStore *kv = NULL;
    for (int i = 0; i < 4; i++) {
        kvConfig_Init(&config);
        config.Bucket = names[i];
        outcome("create bucket", js_CreateKeyValue(&kv, js, &config), 0);
    }
    kvConfig_Init(&config);
    config.Bucket = "H";
    config.History = 65;
    outcome("history too long", js_CreateKeyValue(&kv, js, &config), 0);
    kvConfig_Init(&config);
    config.Bucket = "R";
    config.Replicas = 3;
    outcome("replicas", js_CreateKeyValue(&kv, js, &config), 0);
    outcome("bucket missing", js_KeyValue(&kv, js, "nothing"), 0);
    outcome("delete missing", js_DeleteKeyValue(js, "nothing"), 0);
}

static void restart(jsCtx *js) {
    kvConfig config;
    kvStore *kv = NULL;
    kvWatcher *watcher = NULL;
    kvEntry *entry = NULL;
    uint64_t revision = 0;
    kvConfig_Init(&config);
    config.Bucket = "W";
    must("create bucket", js_CreateKeyValue(&kv, js, &config));
    must("watch", kvStore_WatchAll(&watcher, kv, NULL));
    must("put", kvStore_PutString(&revision, kv, "before", "1"));
    printf("{\"marker\":\"restart\"}\n");
    char line[16];
    if (fgets(line, sizeof(line), stdin) == NULL) {
        exit(1);
    }
    for (int i = 0; i < 100 && kvStore_PutString(&revision, kv, "after", "2") != NATS_OK; i++) {
        nats_Sleep(100);
    }
    follow("watch over a restart", watcher, "after", 0);
    natsStatus status = kvStore_Get(&entry, kv, "before");
    showResult("get after restart", status, entry);
    kvStore_Destroy(kv);
}

int main(int argc, char **argv) {
    natsOptions *options = NULL;
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    kvConfig config;
    kvStore *anchor = NULL;
    if (argc < 2) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    must("options", natsOptions_Create(&options));
    must("url", natsOptions_SetURL(options, argv[1]));
    must("reconnects", natsOptions_SetMaxReconnect(options, -1));
    must("reconnect wait", natsOptions_SetReconnectWait(options, 50));
    must("connect", natsConnection_Connect(&connection, options));
    must("jetstream", natsConnection_JetStream(&js, connection, NULL));
    // nats-server removes the folder of the streams some time after the last of them was deleted, and cannot make a
    // stream meanwhile; with this one there is always a last one.
    kvConfig_Init(&config);
    config.Bucket = "ANCHOR";
    must("anchor", js_CreateKeyValue(&anchor, js, &config));
    kvStore_Destroy(anchor);
    for (int i = 0; i < 2; i++) {
        kvStore *kv = NULL;
        kvConfig_Init(&config);
        config.Bucket = "B";
        config.History = 3;
        config.Description = "words";
        config.MaxValueSize = 65536;
        config.StorageType = i == 0 ? js_FileStorage : js_MemoryStorage;
        must("create bucket", js_CreateKeyValue(&kv, js, &config));
        values(kv);
        watches(kv);
        kvPurgeOptions purge;
        kvPurgeOptions_Init(&purge);
        purge.DeleteMarkersOlderThan = -1;
        outcome("purge deletes", kvStore_PurgeDeletes(kv, &purge), 0);
        history(kv, "after purge of deletes");
        kvStore_Destroy(kv);
        outcome("delete bucket", js_DeleteKeyValue(js, "B"), 0);
    }
    refused(js);
    restart(js);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
    natsOptions_Destroy(options);
    nats_Close();
    return 0;
}
