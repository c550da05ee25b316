import io.nats.client.ConsumerContext;
import io.nats.client.Dispatcher;
import io.nats.client.FetchConsumeOptions;
import io.nats.client.FetchConsumer;
import io.nats.client.IterableConsumer;
import io.nats.client.JetStreamSubscription;
import io.nats.client.Message;
import io.nats.client.MessageConsumer;
import io.nats.client.OrderedConsumerContext;
import io.nats.client.PushSubscribeOptions;
import io.nats.client.StreamContext;
import io.nats.client.api.AckPolicy;
import io.nats.client.api.ConsumerConfiguration;
import io.nats.client.api.DeliverPolicy;
import io.nats.client.api.OrderedConsumerConfiguration;
import io.nats.client.api.StorageType;
import io.nats.client.impl.NatsJetStreamMetaData;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Consumers: pulled, ordered and pushed. */
final class Consumers {
    private static final Duration ACK_WAIT = Duration.ofSeconds(2);
    private static final Duration DELAY = Duration.ofMillis(300);
    private static final Duration SHORT_WAIT = Duration.ofSeconds(1);

    private Consumers() {}

    private static void say(World w, String step, Message message) {
        NatsJetStreamMetaData meta = message.metaData();
        w.say(step, "subject", message.getSubject(), "data", new String(message.getData(), StandardCharsets.UTF_8),
                "headers", message.getHeaders(), "stream", meta.getStream(), "sequence", meta.streamSequence(),
                "delivery", meta.consumerSequence(), "deliveries", meta.deliveredCount(),
                "pending", meta.pendingCount());
    }

    private static Message next(BlockingQueue<Message> messages) throws InterruptedException {
        Message message = messages.poll(World.PATIENCE.toSeconds(), TimeUnit.SECONDS);
        if (message == null) {
            throw new IllegalStateException("no message came");
        }
        return message;
    }

    /** Fetches and consumes. */
    static void pull(World w) throws Exception {
        w.jsm.addStream(Streams.named("PULL").subjects("pull.>").build());
        Streams.fill(w, "pull.a", 6);
        Streams.fill(w, "pull.b", 6);
        StreamContext stream = w.js.getStreamContext("PULL");
        acknowledge(w, stream);
        consume(w, stream);
        w.act("create another under the same name", () -> w.jsm.createConsumer("PULL",
                ConsumerConfiguration.builder().durable("f").filterSubject("pull.x").build()));
        w.act("missing consumer", () -> stream.getConsumerContext("missing"));
        w.attempt("delete consumer", () -> stream.deleteConsumer("f"));
        w.act("delete consumer again", () -> stream.deleteConsumer("f"));
        w.attempt("names", stream::getConsumerNames);
        w.jsm.deleteStream("PULL");
    }

    /** Fetches and answers in each way. */
    private static void acknowledge(World w, StreamContext stream) throws Exception {
        ConsumerContext consumer = stream.createOrUpdateConsumer(ConsumerConfiguration.builder().durable("d")
                .ackPolicy(AckPolicy.Explicit).ackWait(ACK_WAIT).maxDeliver(3).build());
        w.raw("consumer", "$JS.API.CONSUMER.INFO.PULL.d", "");
        try (FetchConsumer batch = consumer.fetch(
                FetchConsumeOptions.builder().maxMessages(4).expiresIn(World.PATIENCE.toMillis()).build())) {
            for (int number = 1; number <= 4; number++) {
                Message message = batch.nextMessage();
                switch (number) {
                    case 1 -> message.ackSync(World.PATIENCE);
                    case 2 -> message.nak();
                    case 3 -> message.inProgress();
                    default -> message.term();
                }
                say(w, "fetch", message);
            }
            w.say("batch", "more", batch.nextMessage() != null);
        }
        w.nc.flush(World.PATIENCE);
        // Whether the message that was refused comes before new ones depends on the moment.
        Map<Long, Object> rest = new TreeMap<>();
        for (int i = 0; i < 10; i++) {
            Message message = consumer.next(World.PATIENCE);
            rest.put(message.metaData().streamSequence(), message.metaData().deliveredCount());
            message.ackSync(World.PATIENCE);
        }
        w.say("the rest with their deliveries", "value", rest);
        try (FetchConsumer batch =
                consumer.fetch(FetchConsumeOptions.builder().maxMessages(100).noWait().build())) {
            w.say("fetch without waiting", "more", batch.nextMessage() != null);
        }
        w.attempt("nothing left", () -> consumer.next(SHORT_WAIT));
        w.raw("consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d", "");
    }

    /** Has messages of a filtered consumer handed over as they come. */
    private static void consume(World w, StreamContext stream) throws Exception {
        ConsumerContext filtered = stream.createOrUpdateConsumer(ConsumerConfiguration.builder().durable("f")
                .filterSubjects("pull.b", "pull.c").deliverPolicy(DeliverPolicy.ByStartSequence).startSequence(9)
                .ackPolicy(AckPolicy.None).build());
        LinkedBlockingQueue<Message> messages = new LinkedBlockingQueue<>();
        try (MessageConsumer running = filtered.consume(messages::add)) {
            for (int i = 0; i < 4; i++) {
                say(w, "consume", next(messages));
            }
            for (int i = 0; i < 2; i++) {
                Streams.fill(w, "pull.c", 1);
                say(w, "consume", next(messages));
            }
            running.stop();
        }
    }

    /** Reads a stream in order without acknowledgements. */
    static void ordered(World w) throws Exception {
        w.jsm.addStream(Streams.named("ORD").subjects("ord.>").storageType(StorageType.Memory).build());
        Streams.fill(w, "ord.a", 30);
        Streams.fill(w, "ord.b", 30);
        StreamContext stream = w.js.getStreamContext("ORD");
        for (OrderedConsumerConfiguration config : List.of(
                new OrderedConsumerConfiguration(),
                new OrderedConsumerConfiguration().filterSubject("ord.b"),
                new OrderedConsumerConfiguration().deliverPolicy(DeliverPolicy.LastPerSubject),
                new OrderedConsumerConfiguration().deliverPolicy(DeliverPolicy.ByStartSequence).startSequence(55)
                        .headersOnly(true))) {
            OrderedConsumerContext consumer = stream.createOrderedConsumer(config);
            try (IterableConsumer messages = consumer.iterate()) {
                Message message;
                do {
                    message = messages.nextMessage(World.PATIENCE);
                    say(w, "ordered", message);
                } while (message.metaData().pendingCount() > 0);
            }
        }
        JetStreamSubscription pushed = w.js.subscribe("ord.b",
                PushSubscribeOptions.builder().stream("ORD").ordered(true).build());
        Message message;
        do {
            message = pushed.nextMessage(World.PATIENCE);
            say(w, "ordered and pushed", message);
        } while (message.metaData().pendingCount() > 0);
        pushed.unsubscribe();
        w.jsm.deleteStream("ORD");
    }

    /** Has messages pushed and answers them in each way. */
    static void push(World w) throws Exception {
        w.jsm.addStream(Streams.named("PUSH").subjects("push.>").build());
        Streams.fill(w, "push.a", 6);
        ConsumerConfiguration config = ConsumerConfiguration.builder().durable("p").deliverSubject("deliver.here")
                .ackPolicy(AckPolicy.Explicit).ackWait(Duration.ofSeconds(30)).maxDeliver(4)
                .flowControl(Duration.ofMillis(500)).build();
        LinkedBlockingQueue<Message> messages = new LinkedBlockingQueue<>();
        Dispatcher dispatcher = w.nc.createDispatcher();
        w.js.subscribe("push.>", dispatcher, messages::add, false,
                PushSubscribeOptions.builder().stream("PUSH").configuration(config).build());
        for (int i = 0; i < 6; i++) {
            Message message = next(messages);
            say(w, "pushed", message);
            long sequence = message.metaData().streamSequence();
            if (sequence == 6) {
                message.nak();
            } else if (sequence == 3) {
                message.nakWithDelay(DELAY);
            } else if (sequence == 4) {
                message.term();
            } else {
                if (sequence == 5) {
                    message.inProgress();
                }
                message.ackSync(World.PATIENCE);
            }
        }
        // Which of the two refused messages comes first depends on the moment.
        List<String> again = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            Message message = next(messages);
            NatsJetStreamMetaData meta = message.metaData();
            again.add(meta.streamSequence() + " delivered " + meta.deliveredCount());
            message.ackSync(World.PATIENCE);
        }
        w.say("pushed again", "value", Kv.sorted(again));
        w.raw("consumer", "$JS.API.CONSUMER.INFO.PUSH.p", "");
        w.nc.closeDispatcher(dispatcher);
        w.jsm.deleteStream("PUSH");
    }
}
