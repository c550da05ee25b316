import io.nats.client.Dispatcher;
import io.nats.client.Message;
import io.nats.client.Subscription;
import io.nats.client.impl.Headers;
import io.nats.client.impl.NatsMessage;
import io.nats.service.Endpoint;
import io.nats.service.Group;
import io.nats.service.Service;
import io.nats.service.ServiceEndpoint;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Messages without JetStream, and services. */
final class Core {
    private Core() {}

    private static String text(Message message) {
        return new String(message.getData(), StandardCharsets.UTF_8);
    }

    /** Sends, asks and shares among queue groups. */
    static void core(World w) throws Exception {
        Subscription subscription = w.nc.subscribe("core.>");
        w.nc.publish(NatsMessage.builder().subject("core.a.b").headers(new Headers().add("K", "v1", "v2"))
                .data("data").build());
        Message message = subscription.nextMessage(World.PATIENCE);
        w.say("message", "subject", message.getSubject(), "data", text(message), "headers", message.getHeaders());
        subscription.unsubscribe();
        Dispatcher echo = w.nc.createDispatcher(asked -> w.nc.publish(asked.getReplyTo(),
                World.bytes("answer to " + text(asked) + " on " + asked.getSubject())));
        echo.subscribe("ask.*");
        w.raw("request", "ask.me", "question");
        w.nc.closeDispatcher(echo);
        w.raw("no responders", "nobody.here", "");
        queues(w);
        Subscription limited = w.nc.subscribe("limited");
        limited.unsubscribe(2);
        for (int i = 0; i < 4; i++) {
            w.nc.publish("limited", new byte[0]);
        }
        w.nc.flush(World.PATIENCE);
        for (int i = 0; i < 3; i++) {
            w.act("auto-unsubscribe", () -> limited.nextMessage(World.PATIENCE));
        }
        w.act("too large", () -> w.nc.publish("x", new byte[(int) w.nc.getMaxPayload() + 1]));
        w.say("max payload", "value", w.nc.getMaxPayload());
        w.say("headers supported", "value", w.nc.getServerInfo().isHeadersSupported());
    }

    /** Each message goes to one member of each group, and to each plain subscription. */
    private static void queues(World w) throws Exception {
        LinkedBlockingQueue<String> seen = new LinkedBlockingQueue<>();
        Dispatcher dispatcher = w.nc.createDispatcher();
        for (String group : List.of("one", "one", "one", "two", "two")) {
            dispatcher.subscribe("queue.*", group, message -> seen.add(group + " " + text(message)));
        }
        dispatcher.subscribe("queue.>", message -> seen.add(" " + text(message)));
        for (int i = 0; i < 50; i++) {
            w.nc.publish("queue.x", World.bytes(String.format("%02d", i)));
        }
        List<String> all = new ArrayList<>();
        for (int i = 0; i < 150; i++) {
            String one = seen.poll(World.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            if (one == null) {
                throw new IllegalStateException("queue groups are silent");
            }
            all.add(one);
        }
        w.nc.flush(World.PATIENCE);
        w.say("queue groups", "seen", Kv.sorted(all), "more", seen.size());
        w.nc.closeDispatcher(dispatcher);
    }

    /** Offers a service and asks it and about it. */
    static void services(World w) throws Exception {
        Group math = new Group("math");
        Service service = Service.builder().connection(w.nc).name("adder").version("1.2.3").description("adds")
                .metadata(Map.of("k", "v"))
                .addServiceEndpoint(ServiceEndpoint.builder().group(math).endpoint(new Endpoint("echo"))
                        .handler(asked -> asked.respond(w.nc, asked.getData())).build())
                .addServiceEndpoint(ServiceEndpoint.builder().group(math).endpoint(new Endpoint("fail"))
                        .handler(asked -> asked.respondStandardError(w.nc, "no good", 400)).build())
                .build();
        CompletableFuture<Boolean> ended = service.startService();
        w.nc.flush(World.PATIENCE);
        for (String subject : List.of("math.echo", "math.fail", "math.none")) {
            w.raw(subject, subject, "1");
        }
        for (String subject : List.of("$SRV.PING", "$SRV.PING.adder", "$SRV.INFO.adder", "$SRV.STATS.adder",
                "$SRV.PING.none")) {
            w.raw(subject, subject, "");
        }
        service.stop();
        w.attempt("stopped itself", () -> ended.get(World.PATIENCE.toSeconds(), TimeUnit.SECONDS));
        w.raw("after the stop", "math.echo", "");
    }
}
