import io.nats.client.KeyValue;
import io.nats.client.api.Mirror;
import io.nats.client.api.Source;
import io.nats.client.api.StreamInfo;
import io.nats.client.api.SubjectTransform;

/** Buckets that mirror another one, or gather several. */
final class Mirrors {
    private static final int LOOK_MS = 10;

    private Mirrors() {}

    /** Waits until a bucket's stream has got as far as a sequence, and reports what it is configured to take. */
    private static void arrived(World w, String step, String bucket, long lastSequence) throws Exception {
        long deadline = System.nanoTime() + World.PATIENCE.toNanos();
        while (true) {
            StreamInfo info = w.jsm.getStreamInfo("KV_" + bucket);
            if (info.getStreamState().getLastSequence() >= lastSequence) {
                w.say(step, "mirror", String.valueOf(info.getConfiguration().getMirror()),
                        "sources", String.valueOf(info.getConfiguration().getSources()),
                        "messages", info.getStreamState().getMsgCount());
                return;
            }
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException(bucket + " does not get to " + lastSequence);
            }
            Thread.sleep(LOOK_MS);
        }
    }

    /** Reads keys, their values and the history of the first. */
    private static void all(World w, String step, KeyValue kv, String... keys) {
        for (String key : keys) {
            w.attempt(step + ", get " + key, () -> kv.get(key));
        }
        Kv.history(w, step + ", history", kv, keys[0]);
        w.attempt(step + ", keys", () -> Kv.sorted(kv.keys()));
    }

    private static Mirror mirror(String name) {
        return Mirror.builder().name(name).build();
    }

    private static Source source(String name) {
        return Source.builder().name(name).build();
    }

    /** Makes buckets that mirror another one, or gather several. */
    static void mirrors(World w) throws Exception {
        KeyValue a = w.bucket(Kv.named("A").maxHistoryPerKey(3));
        KeyValue b = w.bucket(Kv.named("B"));
        a.put("k", "one");
        a.put("k", "two");
        a.put("gone", "x");
        a.delete("gone");
        b.put("l", "other");
        KeyValue m = w.bucket(Kv.named("M").maxHistoryPerKey(3).mirror(mirror("A")));
        arrived(w, "the mirror", "M", 4);
        all(w, "mirror", m, "k", "gone");
        Kv.status(w, "mirror", m);
        w.attempt("put by the mirror", () -> m.put("k", "by the mirror"));
        arrived(w, "the mirror", "M", 5);
        w.attempt("get of the origin", () -> a.get("k"));
        w.act("delete by the mirror", () -> m.delete("k"));
        arrived(w, "the mirror", "M", 6);
        all(w, "mirror, opened", w.open("M"), "k", "gone");
        KeyValue s = w.bucket(Kv.named("S").maxHistoryPerKey(3).sources(source("B")));
        arrived(w, "the gathered", "S", 1);
        w.act("update of the gathered",
                () -> w.buckets.update(Kv.named("S").maxHistoryPerKey(3).sources(source("KV_B"), source("A")).build()));
        arrived(w, "the gathered", "S", 6);
        w.attempt("put of its own", () -> s.put("own", "here"));
        all(w, "gathered", s, "k", "l", "gone", "own");
        Source changed = Source.builder().name("KV_A")
                .subjectTransforms(new SubjectTransform("$KV.A.>", "$KV.T.>")).build();
        KeyValue t = w.bucket(Kv.named("T").maxHistoryPerKey(3).sources(changed));
        arrived(w, "the gathered, transformed", "T", 5);
        all(w, "gathered, transformed", t, "k", "gone");
        w.act("a mirror of itself", () -> w.buckets.create(Kv.named("X").mirror(mirror("X")).build()));
        for (String name : new String[] {"T", "S", "M", "B", "A"}) {
            w.act("delete " + name, () -> w.buckets.delete(name));
        }
    }
}
