import io.nats.client.impl.Headers;
import io.nats.client.support.JsonParseException;
import io.nats.client.support.JsonParser;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;

/** The lines that the driver prints. */
final class Json {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    /** Text that is JSON already. */
    record Raw(String text) {}

    private Json() {}

    static synchronized void print(Map<String, ?> line) {
        OUT.println(text(line));
    }

    /** An object with the given names and values, in that order. */
    static Map<String, Object> fields(Object... namesAndValues) {
        Map<String, Object> fields = new TreeMap<>();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            fields.put((String) namesAndValues[i], namesAndValues[i + 1]);
        }
        return fields;
    }

    /** A payload: as JSON where it is an object, otherwise as text. */
    static Object payload(byte[] data) {
        String text = new String(data, StandardCharsets.UTF_8);
        if (text.startsWith("{")) {
            try {
                JsonParser.parse(text);
                return new Raw(text);
            } catch (JsonParseException ignored) {
                return text;
            }
        }
        return text;
    }

    private static String text(Object value) {
        StringBuilder text = new StringBuilder();
        append(text, value);
        return text.toString();
    }

    private static void append(StringBuilder text, Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) {
            text.append(value);
        } else if (value instanceof Raw raw) {
            text.append(raw.text());
        } else if (value instanceof Headers headers) {
            append(text, headers.toMap());
        } else if (value instanceof Map<?, ?> map) {
            Map<String, Object> sorted = new TreeMap<>();
            map.forEach((name, item) -> sorted.put(String.valueOf(name), item));
            text.append('{');
            String separator = "";
            for (Map.Entry<String, Object> entry : sorted.entrySet()) {
                text.append(separator);
                quote(text, entry.getKey());
                text.append(':');
                append(text, entry.getValue());
                separator = ",";
            }
            text.append('}');
        } else if (value instanceof Iterable<?> items) {
            text.append('[');
            String separator = "";
            for (Object item : items) {
                text.append(separator);
                append(text, item);
                separator = ",";
            }
            text.append(']');
        } else {
            quote(text, value.toString());
        }
    }

    private static void quote(StringBuilder text, String value) {
        text.append('"');
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c == '"' || c == '\\') {
                text.append('\\').append(c);
            } else if (c < ' ') {
                text.append(String.format("\\u%04x", (int) c));
            } else {
                text.append(c);
            }
        }
        text.append('"');
    }
}
