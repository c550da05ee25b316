import io.nats.client.ObjectStore;
import io.nats.client.ObjectStoreManagement;
import io.nats.client.api.ObjectInfo;
import io.nats.client.api.ObjectLink;
import io.nats.client.api.ObjectMeta;
import io.nats.client.api.ObjectMetaOptions;
import io.nats.client.api.ObjectStoreConfiguration;
import io.nats.client.api.ObjectStoreStatus;
import io.nats.client.api.ObjectStoreWatcher;
import io.nats.client.impl.Headers;
import io.nats.client.impl.NatsObjectStoreWatchSubscription;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Object stores. */
final class Objects {
    private static final int BIG = 700_000;
    private static final int CHUNK = 64 * 1024;

    private Objects() {}

    private static Map<String, Object> fields(ObjectInfo info) {
        ObjectMetaOptions options = info.getObjectMeta().getObjectMetaOptions();
        ObjectLink link = info.getLink();
        return Json.fields("name", info.getObjectName(), "description", info.getDescription(),
                "headers", info.getHeaders(), "metadata", info.getMetaData(), "size", info.getSize(),
                "chunks", info.getChunks(), "digest", info.getDigest(), "deleted", info.isDeleted(),
                "bucket", info.getBucket(), "chunk_size", options == null ? null : options.getChunkSize(),
                "link", link == null ? null : link.getBucket() + "/" + link.getObjectName());
    }

    private static void object(World w, String step, Callable<ObjectInfo> operation) {
        try {
            ObjectInfo info = operation.call();
            if (info == null) {
                w.say(step, "value", null);
            } else {
                w.say(step, fields(info));
            }
        } catch (Exception error) {
            w.say(step, World.failure(error));
        }
    }

    private static byte[] read(ObjectStore store, String name) throws Exception {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        store.get(name, content);
        return content.toByteArray();
    }

    private static String text(ObjectStore store, String name) throws Exception {
        return new String(read(store, name), StandardCharsets.UTF_8);
    }

    private static void list(World w, String step, ObjectStore store) throws Exception {
        List<ObjectInfo> infos = new ArrayList<>(store.getList());
        infos.sort(Comparator.comparing(ObjectInfo::getObjectName));
        for (ObjectInfo info : infos) {
            w.say(step, fields(info));
        }
    }

    /** What a watcher of a store is told, in order. */
    private static final class Seen implements ObjectStoreWatcher {
        private final LinkedBlockingQueue<Map<String, Object>> events = new LinkedBlockingQueue<>();

        @Override
        public void watch(ObjectInfo info) {
            events.add(fields(info));
        }

        @Override
        public void endOfData() {
            events.add(Json.fields("mark", true));
        }

        void take(World w, int count) throws InterruptedException {
            for (int i = 0; i < count; i++) {
                Map<String, Object> event = events.poll(World.PATIENCE.toSeconds(), TimeUnit.SECONDS);
                if (event == null) {
                    throw new IllegalStateException("the object watcher is silent");
                }
                w.say("watch", event);
            }
        }
    }

    /** Keeps, reads, lists, watches, links and deletes objects. */
    static void objects(World w) throws Exception {
        ObjectStoreManagement stores = w.nc.objectStoreManagement(w.objectOptions);
        stores.create(ObjectStoreConfiguration.builder("things").description("a store").metadata(Map.of("a", "b"))
                .maxBucketSize(1 << 26).build());
        ObjectStore store = w.nc.objectStore("things", w.objectOptions);
        w.raw("stream", "$JS.API.STREAM.INFO.OBJ_things", "");
        Seen seen = new Seen();
        NatsObjectStoreWatchSubscription watch = store.watch(seen);
        keep(w, store);
        remove(w, store);
        // The mark, three puts, the rename, the second put, the link and the delete.
        seen.take(w, 8);
        watch.unsubscribe();
        ObjectStoreStatus status = store.getStatus();
        w.say("status", "bucket", status.getBucketName(), "description", status.getDescription(),
                "ttl", status.getTtl(), "storage", status.getStorageType(), "replicas", status.getReplicas(),
                "sealed", status.isSealed(), "store", status.getBackingStore(),
                "metadata", status.getMetadata(), "compressed", status.isCompressed());
        w.attempt("names", stores::getBucketNames);
        w.attempt("seal", () -> store.seal().isSealed());
        object(w, "put to a sealed store", () -> store.put("late", World.bytes("x")));
        w.act("delete store", () -> stores.delete("things"));
        w.act("open a missing store", () -> stores.getStatus("things"));
    }

    private static void keep(World w, ObjectStore store) throws Exception {
        byte[] big = new byte[BIG];
        for (int i = 0; i < BIG; i++) {
            big[i] = (byte) (i * 7 % 251);
        }
        object(w, "put small", () -> store.put("small", World.bytes("a small thing")));
        object(w, "put empty", () -> store.put("empty", new byte[0]));
        ObjectMeta meta = ObjectMeta.builder("folder/big thing").description("big")
                .headers(new Headers().add("X", "1", "2")).metadata(Map.of("k", "v")).chunkSize(CHUNK).build();
        object(w, "put big", () -> store.put(meta, new ByteArrayInputStream(big)));
        w.attempt("get big", () -> {
            byte[] content = read(store, "folder/big thing");
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(content);
            return content.length + " " + HexFormat.of().formatHex(digest);
        });
        w.attempt("get small", () -> text(store, "small"));
        w.attempt("get missing", () -> text(store, "missing"));
        object(w, "info", () -> store.getInfo("folder/big thing"));
        object(w, "rename", () -> store.updateMeta("small",
                ObjectMeta.builder("tiny").description("renamed").build()));
        object(w, "put again", () -> store.put("tiny", World.bytes("another text")));
        ObjectInfo target = store.getInfo("tiny");
        object(w, "link", () -> store.addLink("link", target));
        w.attempt("get through the link", () -> text(store, "link"));
        list(w, "list", store);
    }

    private static void remove(World w, ObjectStore store) throws Exception {
        object(w, "delete", () -> store.delete("tiny"));
        object(w, "delete missing", () -> store.delete("missing"));
        w.attempt("get deleted", () -> text(store, "tiny"));
        object(w, "info of a deleted object", () -> store.getInfo("tiny", true));
        list(w, "list after delete", store);
    }
}
