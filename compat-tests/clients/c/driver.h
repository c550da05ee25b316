// What the scenarios of ../README.md share: their connection, and the JSON lines that say what they saw.

#ifndef DRIVER_H
#define DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nats/nats.h>

// Bounds every wait for something that must happen.
#define PATIENCE_MS 45000
#define SECOND_NS INT64_C(1000000000)
#define PATIENCE_NS (PATIENCE_MS / 1000 * SECOND_NS)
#define LENGTH(array) ((int)(sizeof(array) / sizeof((array)[0])))

// What a scenario works with.
typedef struct {
    const char *scenario;
    natsConnection *nc;
    jsCtx *js;
} world;

// driver.c: the end of a scenario that cannot go on, and the harness.
_Noreturn void stop(world *w, const char *why);
void must(world *w, natsStatus status);
void ask(world *w, const char *signal);

// report.c: one JSON line a step. Between open_line and close_line each put_ adds a field.
void open_line(world *w, const char *step);
void put_text(const char *name, const char *text);
void put_number(const char *name, uint64_t number);
void put_flag(const char *name, bool flag);
void put_texts(const char *name, char **texts, int count);
void put_value(const char *name, const void *data, int length);
void put_headers(natsMsg *msg);
void close_line(void);

const char *phrase(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say(world *w, const char *step, const char *name, const char *text);
void outcome(world *w, const char *step, natsStatus status, jsErrCode code);
void failure(world *w, const char *step, natsStatus status, jsErrCode code);
void number(world *w, const char *step, natsStatus status, uint64_t value);
void list(world *w, const char *step, char **texts, int count);
void raw(world *w, const char *step, const char *subject, const char *body);

// kv.c: buckets and entries.
kvStore *make_bucket(world *w, kvConfig config);
void drop_bucket(world *w, kvStore *kv);
void bucket_status(world *w, const char *step, kvStore *kv);
void entry(world *w, const char *step, natsStatus status, kvEntry *e);
void put_update(kvEntry *e);
void history(world *w, const char *step, kvStore *kv, const char *key);
void write_value(world *w, kvStore *kv, const char *key, const char *value);

// values.c: the keys of a bucket.
void keys(world *w, const char *step, kvStore *kv);

// watch.c: following a bucket.
void take(world *w, const char *step, kvWatcher *watcher, int count);
void extra(world *w, const char *step, kvWatcher *watcher);

// stream.c: streams and messages with headers.
void fill(world *w, const char *subject, int count);
natsMsg *message_with(world *w, const char *subject, const char *data, const char *const *headers);

// The scenarios.
void kv_bucket(world *w);
void kv_manage(world *w);
void kv_values(world *w);
void kv_names(world *w);
void kv_limits(world *w);
void kv_history(world *w);
void kv_keys(world *w);
void kv_ttl(world *w);
void kv_watch(world *w);
void kv_watch_writing(world *w);
void kv_two(world *w);
void kv_purge_deletes(world *w);
void kv_many(world *w);
void js_publish(world *w);
void js_stream(world *w);
void js_pull(world *w);
void js_ordered(world *w);
void js_push(world *w);
void core(world *w);
void kv_restart(world *w);
void faults(world *w);

#endif
