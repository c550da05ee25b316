import io.nats.client.Connection;
import io.nats.client.ConnectionListener;
import io.nats.client.JetStream;
import io.nats.client.JetStreamApiException;
import io.nats.client.JetStreamManagement;
import io.nats.client.JetStreamOptions;
import io.nats.client.KeyValue;
import io.nats.client.KeyValueManagement;
import io.nats.client.KeyValueOptions;
import io.nats.client.Message;
import io.nats.client.ObjectStoreOptions;
import io.nats.client.RequestFailureMessage;
import io.nats.client.api.KeyValueConfiguration;
import io.nats.client.api.KeyValueEntry;
import io.nats.client.api.PublishAck;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** What a scenario works with. */
final class World {
    /** Bounds every wait for something that must happen. */
    static final Duration PATIENCE = Duration.ofSeconds(60);
    /** Longer values are shown by their length. */
    private static final int SHOWN_LENGTH_MAX = 64;
    private static final BufferedReader INPUT =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    final Connection nc;
    final JetStream js;
    final JetStreamManagement jsm;
    final KeyValueManagement buckets;
    final ObjectStoreOptions objectOptions;
    private final String scenario;
    private final KeyValueOptions kvOptions;

    /** A scenario. */
    interface Play {
        void run(World w) throws Exception;
    }

    /** An operation without a result. */
    interface Action {
        void run() throws Exception;
    }

    private World(String scenario, Connection nc) throws IOException {
        JetStreamOptions options = JetStreamOptions.builder().requestTimeout(PATIENCE).build();
        this.scenario = scenario;
        this.nc = nc;
        js = nc.jetStream(options);
        jsm = nc.jetStreamManagement(options);
        kvOptions = KeyValueOptions.builder().jetStreamOptions(options).build();
        objectOptions = ObjectStoreOptions.builder().jetStreamOptions(options).build();
        buckets = nc.keyValueManagement(kvOptions);
    }

    /** Runs one scenario; one that cannot go on says so, and the next one begins. */
    static void play(String scenario, Connection nc, Play play) throws IOException {
        World w = new World(scenario, nc);
        try {
            play.run(w);
        } catch (Exception error) {
            w.say("stopped", failure(error));
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    void say(String step, Map<String, Object> seen) {
        seen.put("scenario", scenario);
        seen.put("step", step);
        Json.print(seen);
    }

    void say(String step, Object... namesAndValues) {
        say(step, Json.fields(namesAndValues));
    }

    /** Reports what an operation returned, or its error; the error returns null. */
    <T> T attempt(String step, Callable<T> operation) {
        try {
            T result = operation.call();
            say(step, describe(result));
            return result;
        } catch (Exception error) {
            say(step, failure(error));
            return null;
        }
    }

    /** Reports whether an operation succeeded. */
    void act(String step, Action action) {
        attempt(step, () -> {
            action.run();
            return "ok";
        });
    }

    /** Sends a request as it is and reports the answer. */
    void raw(String step, String subject, String body) throws Exception {
        Message answer = nc.request(subject, bytes(body), PATIENCE);
        if (answer instanceof RequestFailureMessage failed) {
            say(step, "failed", failed.getReason());
        } else {
            say(step, "headers", answer.getHeaders(), "data", Json.payload(answer.getData()));
        }
    }

    KeyValue bucket(KeyValueConfiguration.Builder config) throws Exception {
        return open(buckets.create(config.build()).getBucketName());
    }

    KeyValue open(String bucket) throws IOException {
        return nc.keyValue(bucket, kvOptions);
    }

    /** What the harness asks for next; null when that is all. */
    static String asked() throws IOException {
        return INPUT.readLine();
    }

    /** Has the harness stop the server by a signal and start it again; returns when the connection is back. */
    void ask(String signal) throws Exception {
        CountDownLatch back = new CountDownLatch(1);
        ConnectionListener listener = (connection, event) -> {
            if (event == ConnectionListener.Events.RESUBSCRIBED) {
                back.countDown();
            }
        };
        nc.addConnectionListener(listener);
        Json.print(Map.of("ask", signal));
        if (INPUT.readLine() == null || !back.await(PATIENCE.toSeconds(), TimeUnit.SECONDS)) {
            throw new IllegalStateException("the server did not come back");
        }
        nc.removeConnectionListener(listener);
    }

    static Map<String, Object> failure(Exception error) {
        Throwable cause = error;
        while (cause.getCause() != null
                && (cause instanceof ExecutionException || cause.getClass() == RuntimeException.class)) {
            cause = cause.getCause();
        }
        Map<String, Object> seen = Json.fields("error", cause.getClass().getSimpleName(), "text", cause.getMessage());
        if (cause instanceof JetStreamApiException api) {
            seen.put("code", api.getErrorCode());
            seen.put("err_code", api.getApiErrorCode());
        }
        return seen;
    }

    static Map<String, Object> describe(Object result) {
        if (result instanceof KeyValueEntry entry) {
            byte[] value = entry.getValue();
            String text = value == null ? null : new String(value, StandardCharsets.UTF_8);
            return Json.fields("bucket", entry.getBucket(), "key", entry.getKey(),
                    "value", value != null && value.length > SHOWN_LENGTH_MAX ? value.length + " bytes" : text,
                    "length", entry.getDataLen(), "revision", entry.getRevision(), "delta", entry.getDelta(),
                    "operation", entry.getOperation(), "dated", entry.getCreated() != null);
        }
        if (result instanceof PublishAck ack) {
            return Json.fields("stream", ack.getStream(), "sequence", ack.getSeqno(), "duplicate", ack.isDuplicate(),
                    "domain", ack.getDomain());
        }
        return Json.fields("value", result);
    }
}
