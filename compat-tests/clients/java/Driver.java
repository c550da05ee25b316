// Walks through the list of KV steps with jnats and prints what it sees.

import io.nats.client.Connection;
import io.nats.client.ErrorListener;
import io.nats.client.KeyValue;
import io.nats.client.KeyValueManagement;
import io.nats.client.Nats;
import io.nats.client.ObjectStore;
import io.nats.client.Options;
import io.nats.client.api.KeyValueConfiguration;
import io.nats.client.api.KeyValueEntry;
import io.nats.client.api.KeyValueStatus;
import io.nats.client.api.KeyValueWatcher;
import io.nats.client.api.KeyValueWatchOption;
import io.nats.client.api.ObjectInfo;
import io.nats.client.api.ObjectStoreConfiguration;
import io.nats.client.api.StorageType;
import io.nats.client.impl.NatsKeyValueWatchSubscription;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public final class Driver {
    static void say(String step, Object seen) {
        String text = String.valueOf(seen).replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n");
        System.out.println("{\"step\":\"" + step + "\",\"seen\":\"" + text + "\"}");
    }

    static Object describe(Object result) {
        if (result instanceof KeyValueEntry entry) {
            return entry.getKey() + "=" + entry.getValueAsString() + " revision " + entry.getRevision() + " "
                    + entry.getOperation() + " delta " + entry.getDelta() + " length " + entry.getDataLen();
        }
        return result;
    }

    static <T> T attempt(String step, Callable<T> operation) {
        try {
            T result = operation.call();
            say(step, describe(result));
            return result;
        } catch (Exception error) {
            say(step, error.getClass().getSimpleName() + ": " + error.getMessage());
            return null;
        }
    }

    interface Action {
        void run() throws Exception;
    }

    static void act(String step, Action action) {
        attempt(step, () -> {
            action.run();
            return "done";
        });
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void values(KeyValue kv) throws Exception {
        for (String value : new String[] {"one", "two", "three", "four"}) {
            attempt("put", () -> kv.put("k", value));
        }
        attempt("get", () -> kv.get("k"));
        attempt("get revision", () -> kv.get("k", 2));
        attempt("get dropped revision", () -> kv.get("k", 1));
        attempt("get missing", () -> kv.get("missing"));
        Long created = attempt("create", () -> kv.create("new", bytes("fresh")));
        attempt("create again", () -> kv.create("new", bytes("again")));
        attempt("update", () -> kv.update("new", bytes("second"), created));
        attempt("update late", () -> kv.update("new", bytes("late"), created));
        act("delete", () -> kv.delete("new"));
        attempt("get deleted", () -> kv.get("new"));
        attempt("create after delete", () -> kv.create("new", bytes("reborn")));
        act("delete at a wrong revision", () -> kv.delete("new", 1));
        history(kv, "history");
        act("purge", () -> kv.purge("k"));
        history(kv, "history after purge");
        for (String key : new String[] {"", "a b", ".a", "a.", "a*", "a/b", "A=b-_c.1"}) {
            attempt("put " + key, () -> kv.put(key, "x"));
        }
        attempt("put too big", () -> kv.put("big", new byte[65537]));
        List<String> keys = new ArrayList<>(kv.keys());
        Collections.sort(keys);
        say("keys", keys);
        List<String> filtered = new ArrayList<>(kv.keys(Arrays.asList("a/*", "n*", "new")));
        Collections.sort(filtered);
        say("keys filtered", filtered);
    }

    static void history(KeyValue kv, String step) throws Exception {
        for (String key : new String[] {"k", "new", "nothing"}) {
            for (KeyValueEntry entry : kv.history(key)) {
                say(step, describe(entry));
            }
        }
    }

    static final class Seen implements KeyValueWatcher {
        final LinkedBlockingQueue<Object> events = new LinkedBlockingQueue<>();

        @Override
        public void watch(KeyValueEntry entry) {
            events.add(entry);
        }

        @Override
        public void endOfData() {
            events.add("end of data");
        }

        /** Prints what came up to the given key at a revision or later. */
        void follow(String step, String last, long revision) throws Exception {
            while (true) {
                Object event = events.poll(45, TimeUnit.SECONDS);
                if (event == null) {
                    throw new IllegalStateException(step + ": nothing came");
                }
                if (event instanceof KeyValueEntry entry) {
                    say(step, entry.getKey() + "=" + entry.getValueAsString() + " revision " + entry.getRevision()
                            + " " + entry.getOperation());
                    if (entry.getKey().equals(last) && entry.getRevision() >= revision) {
                        return;
                    }
                }
            }
        }
    }

    static void watches(KeyValue kv) throws Exception {
        KeyValueWatchOption[][] choices = {
            {},
            {KeyValueWatchOption.INCLUDE_HISTORY},
            {KeyValueWatchOption.UPDATES_ONLY},
            {KeyValueWatchOption.IGNORE_DELETE},
            {KeyValueWatchOption.META_ONLY},
        };
        for (KeyValueWatchOption[] options : choices) {
            String name = "watch " + Arrays.toString(options);
            Seen seen = new Seen();
            try (NatsKeyValueWatchSubscription watch = kv.watchAll(seen, options)) {
                // The changes shall come after the initial values.
                Thread.sleep(150);
                kv.put("w", name);
                kv.delete("w");
                seen.follow(name, "end", kv.put("end", name));
            }
        }
    }

    static void refused(KeyValueManagement management) throws Exception {
        for (String bucket : new String[] {"", "a.b", "a b", "*"}) {
            act("create bucket " + bucket,
                    () -> management.create(KeyValueConfiguration.builder().name(bucket).build()));
        }
        act("history too long",
                () -> management.create(KeyValueConfiguration.builder().name("H").maxHistoryPerKey(65).build()));
        act("replicas", () -> management.create(KeyValueConfiguration.builder().name("R").replicas(3).build()));
        act("bucket missing", () -> management.getStatus("nothing"));
        management.create(KeyValueConfiguration.builder().name("S").build());
        act("bucket again, other history",
                () -> management.create(KeyValueConfiguration.builder().name("S").maxHistoryPerKey(2).build()));
        List<String> names = new ArrayList<>(management.getBucketNames());
        Collections.sort(names);
        say("bucket names", names);
        act("delete missing", () -> management.delete("nothing"));
    }

    static void objects(Connection connection) throws Exception {
        connection.objectStoreManagement().create(ObjectStoreConfiguration.builder().name("O").build());
        ObjectStore store = connection.objectStore("O");
        byte[] content = bytes("0123456789abcdef".repeat(20000));
        ObjectInfo info = store.put("blob", new ByteArrayInputStream(content));
        say("object put", info.getSize() + " bytes in " + info.getChunks() + " chunks " + info.getDigest());
        ByteArrayOutputStream back = new ByteArrayOutputStream();
        store.get("blob", back);
        say("object get", Arrays.equals(back.toByteArray(), content));
        act("object missing", () -> store.get("missing", new ByteArrayOutputStream()));
        act("object delete", () -> store.delete("blob"));
        act("object deleted", () -> store.get("blob", new ByteArrayOutputStream()));
    }

    static void restart(Connection connection) throws Exception {
        connection.keyValueManagement().create(KeyValueConfiguration.builder().name("W").build());
        KeyValue kv = connection.keyValue("W");
        Seen seen = new Seen();
        NatsKeyValueWatchSubscription watch = kv.watchAll(seen);
        kv.put("before", "1");
        System.out.println("{\"marker\":\"restart\"}");
        System.in.read();
        for (int i = 0; i < 100; i++) {
            try {
                kv.put("after", "2");
                break;
            } catch (Exception error) {
                Thread.sleep(100);
            }
        }
        seen.follow("watch over a restart", "after", 0);
        watch.unsubscribe();
        attempt("get after restart", () -> kv.get("before"));
    }

    public static void main(String[] arguments) throws Exception {
        Options options = Options.builder().server(arguments[0]).maxReconnects(-1)
                .reconnectWait(Duration.ofMillis(50)).errorListener(new ErrorListener() {}).build();
        try (Connection connection = Nats.connect(options)) {
            KeyValueManagement management = connection.keyValueManagement();
            // nats-server removes the folder of the streams some time after the last of them was deleted, and cannot
            // make a stream meanwhile; with this one there is always a last one.
            management.create(KeyValueConfiguration.builder().name("ANCHOR").build());
            for (StorageType storage : new StorageType[] {StorageType.File, StorageType.Memory}) {
                KeyValueStatus status = management.create(KeyValueConfiguration.builder().name("B")
                        .maxHistoryPerKey(3).description("words").storageType(storage).maximumValueSize(65536).build());
                say("status", status.getBucketName() + " history " + status.getMaxHistoryPerKey() + " entries "
                        + status.getEntryCount() + " " + status.getBackingStore() + " ttl " + status.getTtl());
                KeyValue kv = connection.keyValue("B");
                values(kv);
                watches(kv);
                act("purge deletes", () -> kv.purgeDeletes(
                        io.nats.client.api.KeyValuePurgeOptions.builder().deleteMarkersNoThreshold().build()));
                history(kv, "after purge of deletes");
                act("delete bucket", () -> management.delete("B"));
            }
            refused(management);
            objects(connection);
            restart(connection);
        }
    }
}
