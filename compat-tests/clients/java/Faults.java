import io.nats.client.JetStreamOptions;
import io.nats.client.KeyValue;
import io.nats.client.KeyValueOptions;
import io.nats.client.Message;
import io.nats.client.Subscription;
import io.nats.client.api.KeyValueEntry;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;

/** What the harness asks for, line by line, while it has the server fail. */
final class Faults {
    /** Bounds what is to come too late. */
    private static final Duration BRIEF = Duration.ofMillis(250);
    private static final String BRIEFLY = "-briefly";

    private Faults() {}

    static void faults(World w) throws Exception {
        KeyValue patient = w.open("b");
        JetStreamOptions options = JetStreamOptions.builder().requestTimeout(BRIEF).build();
        KeyValue hasty = w.nc.keyValue("b", KeyValueOptions.builder().jetStreamOptions(options).build());
        Faults faults = new Faults();
        w.say("ready");
        for (String line = World.asked(); line != null; line = World.asked()) {
            String[] words = line.split(" ");
            boolean isBrief = words[0].endsWith(BRIEFLY);
            String verb = isBrief ? words[0].substring(0, words[0].length() - BRIEFLY.length()) : words[0];
            try {
                KeyValue kv = isBrief ? hasty : patient;
                w.say(words[0], faults.run(w, kv, isBrief ? BRIEF : World.PATIENCE, verb, words));
            } catch (Exception error) {
                w.say(words[0], World.failure(error));
            }
        }
    }

    private Subscription subscription;

    private Map<String, Object> run(World w, KeyValue kv, Duration limit, String verb, String[] words) throws Exception {
        switch (verb) {
            case "put":
                return value(kv.put(words[1], words[2]));
            case "get":
                KeyValueEntry entry = kv.get(words[1]);
                return entry == null ? value(null)
                        : Json.fields("value", entry.getValueAsString(), "revision", entry.getRevision());
            case "info":
                w.jsm.getStreamInfo("KV_b");
                return value("ok");
            case "keys":
                return value(kv.keys());
            case "request":
                return text(w.nc.request(words[1], World.bytes(words[2]), limit));
            case "publish":
                w.nc.publish(words[1], World.bytes(words[2]));
                return value("ok");
            case "subscribe":
                if (subscription != null) {
                    subscription.unsubscribe();
                }
                subscription = w.nc.subscribe(words[1]);
                w.nc.flush(World.PATIENCE);
                return value("ok");
            default:
                return text(subscription.nextMessage(limit));
        }
    }

    private static Map<String, Object> value(Object value) {
        return Json.fields("value", value);
    }

    private static Map<String, Object> text(Message message) {
        return value(message == null ? null : new String(message.getData(), StandardCharsets.UTF_8));
    }
}
