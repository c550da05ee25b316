import io.nats.client.KeyValue;
import io.nats.client.MessageTtl;
import io.nats.client.api.KeyResult;
import io.nats.client.api.KeyValueConfiguration;
import io.nats.client.api.KeyValueEntry;
import io.nats.client.api.KeyValueStatus;
import io.nats.client.api.Republish;
import io.nats.client.api.StorageType;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;

/** Buckets, values, keys and histories. */
final class Kv {
    private Kv() {}

    static KeyValueConfiguration.Builder named(String bucket) {
        return KeyValueConfiguration.builder(bucket);
    }

    static void history(World w, String step, KeyValue kv, String key) {
        try {
            for (KeyValueEntry entry : kv.history(key)) {
                w.say(step, World.describe(entry));
            }
        } catch (Exception error) {
            w.say(step, World.failure(error));
        }
    }

    static Map<String, Object> statusFields(KeyValueStatus status) {
        return Json.fields("bucket", status.getBucketName(), "description", status.getDescription(),
                "values", status.getEntryCount(), "history", status.getMaxHistoryPerKey(), "ttl", status.getTtl(),
                "marker_ttl", status.getLimitMarkerTtl(), "store", status.getBackingStore(),
                "storage", status.getStorageType(), "bytes", status.getByteCount(), "replicas", status.getReplicas(),
                "bucket_size", status.getMaxBucketSize(), "value_size", status.getMaximumValueSize(),
                "compressed", status.isCompressed(), "metadata", status.getMetadata());
    }

    static void status(World w, String step, KeyValue kv) throws Exception {
        w.say(step, statusFields(kv.getStatus()));
    }

    /** Makes a bucket with each option and reads its status and its stream's configuration. */
    static void bucket(World w) throws Exception {
        for (KeyValueConfiguration.Builder options : List.of(
                named("plain"),
                named("memory").storageType(StorageType.Memory),
                named("history").maxHistoryPerKey(64),
                named("ttl").ttl(Duration.ofHours(1)),
                named("short-ttl").ttl(Duration.ofSeconds(30)),
                named("sizes").maximumValueSize(1024).maxBucketSize(1 << 20),
                named("described").description("words of ünïcode").metadata(Map.of("owner", "tests", "a", "b")),
                named("compressed").compression(true),
                named("replicas").replicas(1),
                named("markers").limitMarker(Duration.ofMinutes(1)),
                named("republished").republish(new Republish(">", "again.>", false)),
                named("republished").republish(new Republish(">", "$KV.republished.>", false)),
                named("three").replicas(3))) {
            KeyValueConfiguration config = options.build();
            String bucket = config.getBucketName();
            try {
                w.say("create " + bucket, statusFields(w.buckets.create(config)));
            } catch (Exception error) {
                w.say("create " + bucket, World.failure(error));
                continue;
            }
            KeyValue kv = w.open(bucket);
            kv.put("k", "value ".repeat(20));
            status(w, "status " + bucket, kv);
            w.raw("stream of " + bucket, "$JS.API.STREAM.INFO.KV_" + bucket, "");
            w.buckets.delete(bucket);
        }
        w.act("create history-over", () -> named("history-over").maxHistoryPerKey(65).build());
        w.act("create marker-short", () -> named("marker-short").limitMarker(Duration.ofMillis(1)).build());
    }

    /** Makes, changes, lists, opens and deletes buckets. */
    static void manage(World w) throws Exception {
        KeyValue first = w.bucket(named("first").maxHistoryPerKey(2));
        w.bucket(named("second").storageType(StorageType.Memory));
        w.act("create the same again", () -> w.buckets.create(named("first").maxHistoryPerKey(2).build()));
        w.act("create with another history", () -> w.buckets.create(named("first").maxHistoryPerKey(3).build()));
        w.act("update", () -> w.buckets.update(named("first").maxHistoryPerKey(4).description("changed").build()));
        status(w, "status after update", first);
        w.act("update storage", () -> w.buckets.update(named("first").storageType(StorageType.Memory).build()));
        w.act("update a missing one", () -> w.buckets.update(named("missing").build()));
        w.attempt("names", () -> sorted(w.buckets.getBucketNames()));
        w.attempt("list", () -> {
            List<String> seen = new ArrayList<>();
            for (KeyValueStatus status : w.buckets.getStatuses()) {
                seen.add(status.getBucketName() + " " + status.getMaxHistoryPerKey() + " " + status.getEntryCount());
            }
            return sorted(seen);
        });
        w.act("open", () -> w.buckets.getStatus("first"));
        w.act("open a missing one", () -> w.buckets.getStatus("missing"));
        for (String name : List.of("first", "second", "first")) {
            w.act("delete " + name, () -> w.buckets.delete(name));
        }
        w.attempt("get from a deleted bucket", () -> first.get("k"));
        w.attempt("put to a deleted bucket", () -> first.put("k", "v"));
    }

    static List<String> sorted(List<String> names) {
        List<String> sorted = new ArrayList<>(names);
        Collections.sort(sorted);
        return sorted;
    }

    /** Puts, reads and removes values in both kinds of storage. */
    static void values(World w) throws Exception {
        for (StorageType storage : List.of(StorageType.File, StorageType.Memory)) {
            KeyValue kv = w.bucket(named("values").maxHistoryPerKey(3).storageType(storage));
            for (String value : List.of("one", "two", "three", "four")) {
                w.attempt("put", () -> kv.put("k", value));
            }
            w.attempt("put a number", () -> kv.put("number", 4711));
            w.attempt("get", () -> kv.get("k"));
            for (long revision : new long[] {2, 1, 99}) {
                w.attempt("get revision " + revision, () -> kv.get("k", revision));
            }
            w.attempt("get a revision of another key", () -> kv.get("other", 2));
            w.attempt("get a missing key", () -> kv.get("missing"));
            w.attempt("put nothing", () -> kv.put("empty", new byte[0]));
            w.attempt("get nothing", () -> kv.get("empty"));
            updates(w, kv);
            removals(w, kv);
            w.buckets.delete("values");
        }
    }

    private static void updates(World w, KeyValue kv) {
        Long created = w.attempt("create", () -> kv.create("new", World.bytes("fresh")));
        w.attempt("create again", () -> kv.create("new", World.bytes("again")));
        w.attempt("update", () -> kv.update("new", "second", created));
        w.attempt("update late", () -> kv.update("new", "late", created));
        w.attempt("update a missing key", () -> kv.update("unborn", "x", 7));
        w.attempt("update from zero", () -> kv.update("unborn", "x", 0));
    }

    private static void removals(World w, KeyValue kv) throws Exception {
        w.act("delete", () -> kv.delete("new"));
        w.attempt("get deleted", () -> kv.get("new"));
        w.act("delete again", () -> kv.delete("new"));
        w.act("delete a missing key", () -> kv.delete("nothing"));
        Long reborn = w.attempt("create after delete", () -> kv.create("new", World.bytes("reborn")));
        w.act("delete at a wrong revision", () -> kv.delete("new", 1));
        w.act("delete at the revision", () -> kv.delete("new", reborn));
        w.act("purge at a wrong revision", () -> kv.purge("k", 1));
        w.act("purge", () -> kv.purge("k"));
        status(w, "status", kv);
        // Consumers that the library leaves behind after a history would be counted here.
        w.raw("stream", "$JS.API.STREAM.INFO.KV_values", "{\"subjects_filter\":\">\"}");
        history(w, "history after purge", kv, "k");
        w.attempt("create after purge", () -> kv.create("k", World.bytes("after purge")));
        history(w, "history after create", kv, "k");
    }

    /** Tries names that are no names. */
    static void names(World w) throws Exception {
        for (String name : List.of("", "a.b", "a b", "a*", ">", "a/b", "é", "ok_-9")) {
            w.act("bucket " + name, () -> w.buckets.create(named(name).build()));
        }
        KeyValue kv = w.bucket(named("names"));
        for (String key : List.of("", "a b", ".a", "a.", "a..b", "a*", ">", "a/b", "é", "A=b-_c.1/x", "_kv",
                "k".repeat(300))) {
            w.attempt("put " + key, () -> kv.put(key, "x"));
            w.attempt("get " + key, () -> kv.get(key));
        }
        for (String name : List.of("names", "ok_-9")) {
            w.buckets.delete(name);
        }
    }

    /** Overfills values and buckets. */
    static void limits(World w) throws Exception {
        KeyValue kv = w.bucket(named("limits").maximumValueSize(100).maxBucketSize(1000));
        for (int size : new int[] {70, 99, 100, 101, 5000}) {
            w.attempt("put " + size, () -> kv.put("size" + size, "x".repeat(size)));
        }
        for (int i = 0; i < 10; i++) {
            String key = "fill" + i;
            w.attempt("fill", () -> kv.put(key, "y".repeat(90)));
        }
        w.attempt("put over an older value when full", () -> kv.put("fill0", "z"));
        w.act("delete when full", () -> kv.delete("fill1"));
        w.act("purge when full", () -> kv.purge("fill1"));
        status(w, "status when full", kv);
        KeyValue payload = w.bucket(named("payload"));
        w.attempt("put a value as large as a message", () -> payload.put("big", new byte[1 << 20]));
        w.attempt("put a value larger than a message", () -> payload.put("bigger", new byte[(1 << 20) + 1]));
        w.buckets.delete("limits");
        w.buckets.delete("payload");
    }

    /** Reads histories at and over their limit. */
    static void history(World w) throws Exception {
        for (int depth : new int[] {1, 5, 64}) {
            KeyValue kv = w.bucket(named("history-" + depth).maxHistoryPerKey(depth));
            for (int i = 0; i < 8; i++) {
                kv.put("a.b", Integer.toString(i));
                kv.put("a.c", Integer.toString(i));
            }
            kv.delete("a.b");
            history(w, "history of depth " + depth, kv, "a.b");
            history(w, "wildcard at depth " + depth, kv, "a.*");
            w.attempt("missing key", () -> kv.history("nothing").size());
            w.buckets.delete(kv.getBucketName());
        }
    }

    /** Lists keys, all and by filters, whole and one after the other. */
    static void keys(World w) throws Exception {
        KeyValue kv = w.bucket(named("keys").maxHistoryPerKey(5));
        w.attempt("keys of an empty bucket", kv::keys);
        for (String key : List.of("a.b.c", "a.b.d", "a.x", "b", "c.1", "c.2", "gone", "purged")) {
            kv.put(key, "v");
            kv.put(key, "v");
        }
        kv.delete("gone");
        kv.purge("purged");
        w.attempt("keys", () -> sorted(kv.keys()));
        w.attempt("list keys", () -> collect(kv.consumeKeys()));
        for (List<String> filters : List.of(List.of("a.>"), List.of("*"), List.of("c.*", "b"),
                List.of("a.b.*", "c.1", "nothing"), List.of("nothing"), List.of("a.>", "a.b.*"), List.of("gone"))) {
            String name = String.join(" ", filters);
            w.attempt("filter " + name, () -> sorted(kv.keys(filters)));
            w.attempt("list keys by " + name, () -> collect(kv.consumeKeys(filters)));
        }
        w.buckets.delete("keys");
    }

    static List<String> collect(BlockingQueue<KeyResult> keys) throws Exception {
        List<String> found = new ArrayList<>();
        while (true) {
            KeyResult next = keys.poll(World.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            if (next == null) {
                throw new IllegalStateException("the listing of keys is silent");
            }
            if (next.isException()) {
                throw next.getException();
            }
            if (!next.isKey()) {
                return sorted(found);
            }
            found.add(next.getKey());
        }
    }

    /** Lets keys expire and sees the markers that take their place. */
    static void ttl(World w) throws Exception {
        KeyValue kv = w.bucket(named("markers").limitMarker(Duration.ofMinutes(1)));
        Updates updates = new Updates(w);
        updates.follow("watch", kv.watchAll(updates));
        updates.take("watch", 1);
        w.attempt("create with a TTL", () -> kv.create("short", World.bytes("x"), MessageTtl.seconds(1)));
        updates.take("watch", 2);
        w.attempt("get expired", () -> kv.get("short"));
        w.raw("marker", "$JS.API.STREAM.MSG.GET.KV_markers", "{\"last_by_subj\":\"$KV.markers.short\"}");
        w.attempt("create after expiry", () -> kv.create("short", World.bytes("again")));
        w.attempt("create with a TTL under a second",
                () -> kv.create("tiny", World.bytes("x"), MessageTtl.custom("1ms")));
        w.attempt("create that never expires", () -> kv.create("always", World.bytes("x"), MessageTtl.never()));
        w.act("purge with a TTL", () -> kv.purge("short", MessageTtl.seconds(1)));
        updates.take("watch", 3);
        updates.stop();
        w.buckets.delete("markers");
        KeyValue plain = w.bucket(named("plain"));
        w.attempt("create with a TTL where TTLs are off",
                () -> plain.create("k", World.bytes("x"), MessageTtl.seconds(1)));
        w.buckets.delete("plain");
        KeyValue aged = w.bucket(named("aged").ttl(Duration.ofSeconds(1)).limitMarker(Duration.ofSeconds(2)));
        Updates ageing = new Updates(w);
        ageing.follow("watch with max age", aged.watchAll(ageing));
        aged.put("k", "x");
        ageing.take("watch with max age", 3);
        ageing.stop();
        w.buckets.delete("aged");
    }
}
