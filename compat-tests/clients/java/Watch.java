import io.nats.client.KeyValue;
import io.nats.client.Subscription;
import io.nats.client.api.KeyValueEntry;
import io.nats.client.api.KeyValuePurgeOptions;
import io.nats.client.api.KeyValueWatchOption;
import io.nats.client.api.StorageType;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** Watchers, many keys, and the server's end and return. */
final class Watch {
    private static final int MANY = 100_000;
    private static final int WRITES = 2000;
    /** Publishes whose acknowledgement may be outstanding. */
    private static final int OUTSTANDING_MAX = 1000;

    private Watch() {}

    /** What a watcher looks at, and how many updates it sees at first and after further writes; the mark is one. */
    private record Look(String step, List<String> keys, int first, int further, long from,
            KeyValueWatchOption... options) {}

    private static Look look(String step, List<String> keys, int first, int further, KeyValueWatchOption... options) {
        return new Look(step, keys, first, further, -1, options);
    }

    /** Watches with each option. */
    static void watch(World w) throws Exception {
        KeyValue kv = w.bucket(Kv.named("watch").maxHistoryPerKey(5));
        Subscription ends = w.nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.KV_watch.*");
        Updates empty = new Updates(w);
        empty.follow("empty bucket", kv.watchAll(empty));
        empty.take("empty bucket", 1);
        empty.extra("empty bucket");
        List<String> all = List.of(">");
        for (Look look : List.of(
                look("all", all, 5, 4),
                look("one key", List.of("b"), 2, 2),
                look("missing key", List.of("nothing"), 1, 0),
                look("wildcard", List.of("a.*"), 3, 2),
                look("two filters", List.of("a.1", "b"), 3, 3),
                look("history", all, 7, 4, KeyValueWatchOption.INCLUDE_HISTORY),
                look("updates only", all, 1, 4, KeyValueWatchOption.UPDATES_ONLY),
                look("ignore deletes", all, 4, 2, KeyValueWatchOption.IGNORE_DELETE),
                look("meta only", all, 5, 4, KeyValueWatchOption.META_ONLY),
                new Look("resume", all, 4, 4, 4),
                new Look("resume in the future", all, 1, 0, 1000))) {
            fresh(w, look);
        }
        w.act("bad key", () -> kv.watch("a b", new Updates(w)));
        // The library leaves the consumer to the server, which removes it some seconds after its reader went.
        w.say("end of the first consumer", "seen", ends.nextMessage(World.PATIENCE) != null);
        w.raw("consumers left", "$JS.API.CONSUMER.NAMES.KV_watch", "");
        ends.unsubscribe();
        w.buckets.delete("watch");
    }

    /** Watches a bucket with known values from before and writes while the watcher looks on. */
    private static void fresh(World w, Look look) throws Exception {
        KeyValue kv = w.bucket(Kv.named("fresh-" + look.step().replace(' ', '-')).maxHistoryPerKey(5));
        kv.put("a.1", "one");
        kv.put("a.1", "two");
        kv.put("a.2", "one");
        kv.put("b", "one");
        kv.put("gone", "one");
        kv.delete("gone");
        Updates updates = new Updates(w);
        updates.follow(look.step(), look.from() < 0 ? kv.watch(look.keys(), updates, look.options())
                : kv.watch(look.keys(), updates, look.from(), look.options()));
        updates.take(look.step(), look.first());
        kv.put("a.1", "further");
        kv.put("b", "further");
        kv.delete("a.2");
        kv.purge("b");
        updates.take(look.step(), look.further());
        updates.extra(look.step());
        w.buckets.delete(kv.getBucketName());
    }

    /** Has watchers follow a bucket while it is written to. */
    static void writing(World w) throws Exception {
        KeyValue kv = w.bucket(Kv.named("writing"));
        Updates all = new Updates(w);
        all.follow("all", kv.watchAll(all));
        Updates some = new Updates(w);
        some.follow("some", kv.watch("k.1.*", some));
        CompletableFuture<Void> written = CompletableFuture.runAsync(() -> pipeline(w, WRITES,
                i -> "$KV.writing.k." + i % 10 + "." + i, Integer::toString));
        count(w, "all", all, WRITES);
        count(w, "some", some, WRITES / 10);
        written.get(World.PATIENCE.toSeconds(), TimeUnit.SECONDS);
        w.buckets.delete("writing");
    }

    private static void count(World w, String step, Updates updates, int expected) throws Exception {
        int count = 0;
        int marks = 0;
        long last = 0;
        boolean ordered = true;
        while (count < expected || marks == 0) {
            if (updates.next() instanceof KeyValueEntry entry) {
                count++;
                ordered &= entry.getRevision() > last;
                last = entry.getRevision();
            } else {
                marks++;
            }
        }
        w.say(step, "count", count, "ordered", ordered, "last", last, "marks", marks);
        updates.extra(step);
    }

    private interface Text {
        String of(int i);
    }

    /** Publishes many messages without waiting for each; returns when all are acknowledged. */
    private static void pipeline(World w, int count, Text subject, Text value) {
        Semaphore free = new Semaphore(OUTSTANDING_MAX);
        CompletableFuture<Void> failed = new CompletableFuture<>();
        for (int i = 0; i < count; i++) {
            free.acquireUninterruptibly();
            w.js.publishAsync(subject.of(i), World.bytes(value.of(i))).whenComplete((ack, error) -> {
                if (error != null) {
                    failed.completeExceptionally(error);
                }
                free.release();
            });
        }
        free.acquireUninterruptibly(OUTSTANDING_MAX);
        if (failed.isCompletedExceptionally()) {
            failed.join();
        }
    }

    /** Works with two buckets that must not see each other. */
    static void two(World w) throws Exception {
        KeyValue a = w.bucket(Kv.named("two").maxHistoryPerKey(5));
        KeyValue b = w.bucket(Kv.named("two-b").maxHistoryPerKey(5).storageType(StorageType.Memory));
        Updates seenA = new Updates(w);
        seenA.follow("watch a", a.watchAll(seenA));
        Updates seenB = new Updates(w);
        seenB.follow("watch b", b.watchAll(seenB));
        for (int i = 0; i < 3; i++) {
            String number = Integer.toString(i);
            w.attempt("put to a", () -> a.put("k", "a" + number));
            w.attempt("put to b", () -> b.put("k", "b" + number));
        }
        seenA.take("watch a", 4);
        seenA.extra("watch a");
        seenB.take("watch b", 4);
        seenB.extra("watch b");
        w.buckets.delete("two");
        w.attempt("b after the end of a", () -> b.get("k"));
        w.buckets.delete("two-b");
    }

    /** Removes markers: the old ones, then all. */
    static void purgeDeletes(World w) throws Exception {
        KeyValue kv = w.bucket(Kv.named("graves").maxHistoryPerKey(5));
        for (String key : List.of("a", "b", "c")) {
            for (int i = 0; i < 3; i++) {
                kv.put(key, "v");
            }
        }
        kv.delete("a");
        kv.purge("b");
        w.act("young markers stay", kv::purgeDeletes);
        for (String key : List.of("a", "b")) {
            Kv.history(w, key, kv, key);
        }
        w.act("all markers go",
                () -> kv.purgeDeletes(KeyValuePurgeOptions.builder().deleteMarkersNoThreshold().build()));
        for (String key : List.of("a", "b", "c")) {
            Kv.history(w, key + " after", kv, key);
        }
        Kv.status(w, "status", kv);
        w.buckets.delete("graves");
    }

    private static String keyOf(int i) {
        return "group" + i % 100 + ".key" + i;
    }

    /** Writes 100,000 keys, lists them and watches them. */
    static void many(World w) throws Exception {
        KeyValue kv = w.bucket(Kv.named("many"));
        pipeline(w, MANY, i -> "$KV.many." + keyOf(i), i -> "value " + i);
        Kv.status(w, "status", kv);
        w.attempt("keys", () -> kv.keys().stream().distinct().count());
        w.attempt("keys of a group", () -> kv.keys("group7.>").size());
        w.attempt("keys one after the other", () -> Kv.collect(kv.consumeKeys()).size());
        Updates updates = new Updates(w);
        updates.follow("initial values", kv.watchAll(updates));
        int values = 0;
        long bytes = 0;
        while (updates.next() instanceof KeyValueEntry entry) {
            values++;
            bytes += entry.getDataLen();
        }
        w.say("initial values", "count", values, "bytes", bytes);
        updates.stop();
        for (int i : new int[] {0, 4711, MANY - 1}) {
            w.attempt("get", () -> kv.get(keyOf(i)));
        }
        w.buckets.delete("many");
    }

    /** Keeps a watcher on a bucket while the server is killed and ended and started again. */
    static void restart(World w) throws Exception {
        KeyValue kv = w.bucket(Kv.named("restart").maxHistoryPerKey(10));
        for (int i = 0; i < 5; i++) {
            kv.put("k" + i, "before");
        }
        Updates updates = new Updates(w);
        updates.follow("watch", kv.watchAll(updates));
        updates.take("watch", 6);
        for (String signal : List.of("KILL", "TERM")) {
            for (int i = 0; i < 5; i++) {
                String key = "k" + i;
                w.attempt("put before " + signal, () -> kv.put(key, "before " + signal));
            }
            w.ask(signal);
            for (int i = 0; i < 5; i++) {
                String key = "k" + i;
                w.attempt("put after " + signal, () -> kv.put(key, "after " + signal));
            }
            // The library finds its consumer gone by the heartbeats that are missing, and makes another one.
            updates.take("watch over " + signal, 10);
            Kv.history(w, "history after " + signal, kv, "k2");
        }
        updates.extra("watch");
        Kv.status(w, "status", kv);
        w.buckets.delete("restart");
    }
}
