package io.jetkv.testkit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.nats.client.Connection;
import io.nats.client.KeyValue;
import io.nats.client.KeyValueOptions;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.client.api.KeyValueConfiguration;
import io.nats.client.api.KeyValueEntry;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The helper with the client that people use it with. */
class JetKVTest {
    @RegisterExtension
    static JetKV jetkv = JetKV.jetStream();

    /** A busy machine takes its time. */
    private static final Duration PATIENCE = Duration.ofMinutes(1);

    private Connection connection;

    @BeforeEach
    void connect() throws Exception {
        connection = Nats.connect(Options.builder().server(jetkv.url()).connectionTimeout(PATIENCE).build());
    }

    @AfterEach
    void close() throws Exception {
        connection.close();
    }

    private KeyValue bucket(Duration ttl) throws Exception {
        KeyValueOptions patient = KeyValueOptions.builder().jsRequestTimeout(PATIENCE).build();
        connection.keyValueManagement(patient).create(KeyValueConfiguration.builder("b").ttl(ttl).build());
        return connection.keyValue("b", patient);
    }

    @Test
    void expires() throws Exception {
        KeyValue kv = bucket(Duration.ofHours(1));
        kv.put("k", "v");
        jetkv.advance(Duration.ofMinutes(59));
        assertNotNull(kv.get("k"));
        jetkv.advance(Duration.ofMinutes(1).plusSeconds(1));
        assertNull(kv.get("k"));
    }

    @Test
    void losesAnAcknowledgement() throws Exception {
        KeyValue kv = bucket(Duration.ZERO);
        jetkv.fault("{\"kind\":\"ack_lost\",\"where\":{\"subject\":\"$KV.b.k\"},\"times\":1}");
        byte[] value = "v".getBytes(StandardCharsets.UTF_8);
        assertNull(connection.request("$KV.b.k", value, Duration.ofMillis(200)));
        KeyValueEntry entry = kv.get("k");
        assertEquals("v", entry.getValueAsString());
        jetkv.clearFaults();
        assertEquals(2, kv.put("k", "w"));
    }

    @Test
    void findsNothingOfOtherTests() throws Exception {
        assertEquals(1, bucket(Duration.ZERO).put("k", "v"));
    }

    @Test
    void saysWhatIsWrong() {
        assertEquals(400, assertThrows(LabException.class, () -> jetkv.fault("{\"kind\":\"flood\"}")).code());
    }
}
