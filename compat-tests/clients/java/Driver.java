import io.nats.client.Connection;
import io.nats.client.ErrorListener;
import io.nats.client.Nats;
import io.nats.client.Options;

import java.time.Duration;
import java.util.List;

/** Walks through the scenarios of ../README.md with jnats and prints one JSON line for each thing that it sees. */
public final class Driver {
    /** No request is cancelled for its age alone; the scenarios have limits of their own. */
    private static final Duration REQUEST_AGE_MAX = Duration.ofHours(1);

    private record Scenario(String name, World.Play play) {}

    private static final List<Scenario> SCENARIOS = List.of(
            new Scenario("kv-bucket", Kv::bucket),
            new Scenario("kv-manage", Kv::manage),
            new Scenario("kv-values", Kv::values),
            new Scenario("kv-names", Kv::names),
            new Scenario("kv-limits", Kv::limits),
            new Scenario("kv-history", Kv::history),
            new Scenario("kv-keys", Kv::keys),
            new Scenario("kv-ttl", Kv::ttl),
            new Scenario("kv-watch", Watch::watch),
            new Scenario("kv-watch-writing", Watch::writing),
            new Scenario("kv-two", Watch::two),
            new Scenario("kv-purge-deletes", Watch::purgeDeletes),
            new Scenario("kv-mirrors", Mirrors::mirrors),
            new Scenario("kv-many", Watch::many),
            new Scenario("objects", Objects::objects),
            new Scenario("js-publish", Streams::publish),
            new Scenario("js-stream", Streams::stream),
            new Scenario("js-pull", Consumers::pull),
            new Scenario("js-ordered", Consumers::ordered),
            new Scenario("js-push", Consumers::push),
            new Scenario("core", Core::core),
            new Scenario("services", Core::services),
            new Scenario("kv-restart", Watch::restart),
            new Scenario("faults", Faults::faults));

    public static void main(String[] arguments) throws Exception {
        // Errors of the connection during a restart are part of the scenario. With a jitter of zero the library
        // would not connect again.
        Options options = Options.builder().server(arguments[0]).connectionName("driver").maxReconnects(-1).reconnectWait(Duration.ofMillis(50))
                .connectionTimeout(World.PATIENCE).requestCleanupInterval(REQUEST_AGE_MAX)
                .advancedRequestBehavior().errorListener(new ErrorListener() {}).build();
        try (Connection connection = Nats.connect(options)) {
            for (Scenario scenario : SCENARIOS) {
                boolean isInAll = arguments[1].equals("all") && !scenario.name().equals("faults");
                if (isInAll || arguments[1].equals(scenario.name())) {
                    World.play(scenario.name(), connection, scenario.play());
                }
            }
        }
        System.exit(0);
    }
}
