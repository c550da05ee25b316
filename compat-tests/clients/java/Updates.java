import io.nats.client.api.KeyValueEntry;
import io.nats.client.api.KeyValueWatcher;
import io.nats.client.impl.NatsKeyValueWatchSubscription;

import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What a watcher of a bucket is told, in order. */
final class Updates implements KeyValueWatcher {
    /** The mark that all initial values have come. */
    static final Object MARK = new Object();
    private static final long EXTRA_WAIT_MS = 30;

    private final World w;
    private final LinkedBlockingQueue<Object> seen = new LinkedBlockingQueue<>();
    private NatsKeyValueWatchSubscription subscription;
    private String name;

    Updates(World w) {
        this.w = w;
    }

    @Override
    public void watch(KeyValueEntry entry) {
        seen.add(entry);
    }

    @Override
    public void endOfData() {
        seen.add(MARK);
    }

    /** Names the subscription that these updates come from. */
    void follow(String name, NatsKeyValueWatchSubscription subscription) {
        this.name = name;
        this.subscription = subscription;
    }

    /** The next update, or the mark. */
    Object next() throws InterruptedException {
        Object next = seen.poll(World.PATIENCE.toSeconds(), TimeUnit.SECONDS);
        if (next == null) {
            throw new IllegalStateException(name + " is silent");
        }
        return next;
    }

    /** Reports the next updates; the mark counts as one. */
    void take(String step, int count) throws InterruptedException {
        for (int i = 0; i < count; i++) {
            Object next = next();
            if (next == MARK) {
                w.say(step, "mark", true);
            } else {
                w.say(step, fields(next));
            }
        }
    }

    /** Reports updates that should not be there, and stops. */
    void extra(String step) throws Exception {
        w.nc.flush(World.PATIENCE);
        Object next;
        while ((next = seen.poll(EXTRA_WAIT_MS, TimeUnit.MILLISECONDS)) != null) {
            w.say(step, "unexpected", next == MARK ? "mark" : fields(next));
        }
        stop();
    }

    void stop() {
        subscription.unsubscribe();
    }

    /** Leaves out how many more values were on their way, which depends on the moment. */
    private static Map<String, Object> fields(Object entry) {
        Map<String, Object> fields = World.describe(entry);
        fields.remove("delta");
        return fields;
    }
}
