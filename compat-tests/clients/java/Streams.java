import io.nats.client.PublishOptions;
import io.nats.client.PurgeOptions;
import io.nats.client.api.MessageInfo;
import io.nats.client.api.PublishAck;
import io.nats.client.api.PurgeResponse;
import io.nats.client.api.StreamConfiguration;
import io.nats.client.api.StreamInfo;
import io.nats.client.api.StreamInfoOptions;
import io.nats.client.impl.Headers;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Publishing to streams, and streams themselves. */
final class Streams {
    private Streams() {}

    static StreamConfiguration.Builder named(String stream) {
        return StreamConfiguration.builder().name(stream);
    }

    static void fill(World w, String subject, int count) throws Exception {
        for (int i = 1; i <= count; i++) {
            w.js.publish(subject, World.bytes("message " + i));
        }
    }

    private static void publish(World w, String step, String subject, PublishOptions.Builder options) {
        w.attempt(step, () -> w.js.publish(subject, World.bytes("x"), options.build()));
    }

    /** Publishes with each condition that a publisher can set. */
    static void publish(World w) throws Exception {
        w.jsm.addStream(named("PUB").subjects("pub.>").allowMessageTtl().allowDirect(true).build());
        publish(w, "plain", "pub.a", PublishOptions.builder());
        publish(w, "message id", "pub.a", PublishOptions.builder().messageId("one"));
        publish(w, "message id again", "pub.a", PublishOptions.builder().messageId("one"));
        publish(w, "expected stream", "pub.a", PublishOptions.builder().expectedStream("PUB"));
        publish(w, "wrong stream", "pub.a", PublishOptions.builder().expectedStream("OTHER"));
        publish(w, "expected last sequence", "pub.a", PublishOptions.builder().expectedLastSequence(3));
        publish(w, "wrong last sequence", "pub.a", PublishOptions.builder().expectedLastSequence(3));
        publish(w, "wrong last message id", "pub.a", PublishOptions.builder().expectedLastMsgId("other"));
        publish(w, "message id two", "pub.b", PublishOptions.builder().messageId("two"));
        publish(w, "expected last message id", "pub.a", PublishOptions.builder().expectedLastMsgId("two"));
        publish(w, "expected last of subject", "pub.b", PublishOptions.builder().expectedLastSubjectSequence(5));
        publish(w, "wrong last of subject", "pub.b", PublishOptions.builder().expectedLastSubjectSequence(5));
        publish(w, "last of a wildcard", "pub.b",
                PublishOptions.builder().expectedLastSubjectSequence(7).expectedLastSubjectSequenceSubject("pub.>"));
        publish(w, "TTL", "pub.c", PublishOptions.builder().messageTtlSeconds(60));
        publish(w, "no stream", "nowhere", PublishOptions.builder());
        Headers headers = new Headers().add("A", "1", "2").add("lower-case", "with spaces inside");
        w.attempt("headers", () -> w.js.publish("pub.headers", headers, World.bytes("x")));
        w.raw("headers as stored", "$JS.API.DIRECT.GET.PUB", "{\"last_by_subj\":\"pub.headers\"}");
        List<CompletableFuture<PublishAck>> acks = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            acks.add(w.js.publishAsync("pub.async", World.bytes(Integer.toString(i))));
        }
        acks.add(w.js.publishAsync("nowhere", World.bytes("x")));
        for (CompletableFuture<PublishAck> ack : acks) {
            w.attempt("async", () -> ack.get(World.PATIENCE.toSeconds(), TimeUnit.SECONDS));
        }
        w.jsm.deleteStream("PUB");
    }

    private static void get(World w, String step, Callable<MessageInfo> read) {
        try {
            MessageInfo message = read.call();
            w.say(step, "subject", message.getSubject(), "sequence", message.getSeq(), "stream", message.getStream(),
                    "data", new String(message.getData()), "headers", message.getHeaders(),
                    "dated", message.getTime() != null);
        } catch (Exception error) {
            w.say(step, World.failure(error));
        }
    }

    private static void purge(World w, String step, PurgeOptions options) {
        w.attempt(step, () -> {
            PurgeResponse response = w.jsm.purgeStream("S", options);
            return response.isSuccess() + " " + response.getPurged();
        });
    }

    /** Reads single messages, directly (S) and from the stream's leader (P). */
    private static void reads(World w) throws Exception {
        for (String stream : List.of("S", "P")) {
            String prefix = stream.toLowerCase();
            fill(w, prefix + ".a", 5);
            fill(w, prefix + ".b", 5);
            get(w, "get", () -> w.jsm.getMessage(stream, 3));
            get(w, "get next of a subject", () -> w.jsm.getNextMessage(stream, 3, prefix + ".b"));
            get(w, "get first of a subject", () -> w.jsm.getFirstMessage(stream, prefix + ".b"));
            get(w, "get last of a subject", () -> w.jsm.getLastMessage(stream, prefix + ".a"));
            get(w, "get missing", () -> w.jsm.getMessage(stream, 99));
            get(w, "get last of a missing subject", () -> w.jsm.getLastMessage(stream, prefix + ".none"));
        }
    }

    /** Manages a stream and reads single messages. */
    static void stream(World w) throws Exception {
        w.jsm.addStream(named("S").subjects("s.*").allowDirect(true).build());
        w.jsm.addStream(named("P").subjects("p.*").allowDirect(false).build());
        reads(w);
        StreamInfo info = w.jsm.getStreamInfo("S", StreamInfoOptions.allSubjects());
        w.say("info", "config", new Json.Raw(info.getConfiguration().toJson()),
                "messages", info.getStreamState().getMsgCount(), "bytes", info.getStreamState().getByteCount(),
                "first", info.getStreamState().getFirstSequence(), "last", info.getStreamState().getLastSequence(),
                "subjects", info.getStreamState().getSubjectMap(),
                "consumers", info.getStreamState().getConsumerCount());
        w.attempt("delete message", () -> w.jsm.deleteMessage("S", 4, false));
        w.attempt("delete message again", () -> w.jsm.deleteMessage("S", 4, false));
        w.attempt("securely delete message", () -> w.jsm.deleteMessage("S", 5, true));
        w.raw("state with deletes", "$JS.API.STREAM.INFO.S", "{\"deleted_details\":true}");
        purge(w, "purge subject", PurgeOptions.subject("s.a"));
        purge(w, "purge keep", PurgeOptions.builder().keep(3).build());
        purge(w, "purge to sequence", PurgeOptions.builder().sequence(10).build());
        w.raw("state after purges", "$JS.API.STREAM.INFO.S", "");
        purge(w, "purge", PurgeOptions.builder().build());
        w.attempt("name by subject", () -> w.jsm.getStreamNames("s.z"));
        w.attempt("names", () -> Kv.sorted(w.jsm.getStreamNames()));
        w.act("overlapping subjects", () -> w.jsm.addStream(named("S2").subjects("s.>").build()));
        w.act("update", () -> w.jsm.updateStream(named("S").subjects("s.*", "t").maxMessages(2).build()));
        fill(w, "t", 4);
        w.raw("state at its limit", "$JS.API.STREAM.INFO.S", "");
        w.act("missing stream", () -> w.jsm.getStreamInfo("missing"));
        w.jsm.deleteStream("S");
        w.jsm.deleteStream("P");
        w.act("delete a missing stream", () -> w.jsm.deleteStream("P"));
    }
}
