package io.jetkv.testkit;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * A server for the tests of a class, whose clock they move. It is empty at the beginning of each test, and gone, with what it
 * stored, after the last one.
 *
 * <pre>{@code
 * @RegisterExtension static JetKV jetkv = JetKV.jetStream();
 * }</pre>
 */
public final class JetKV implements BeforeAllCallback, BeforeEachCallback, AfterAllCallback, AutoCloseable {
    private static final Duration START_LIMIT = Duration.ofMinutes(1);
    private static final Pattern NATS = Pattern.compile("\"nats\"\\s*:\\s*\\[\\s*\"([^\"]+)\"");
    private static final Pattern PAGES = Pattern.compile("\"monitoring\"\\s*:\\s*\\[\\s*\"([^\"]+)\"");

    private final HttpClient http = HttpClient.newHttpClient();
    private final boolean jetStream;
    private Process process;
    private Path folder;
    private String url;
    private String lab;

    private JetKV(boolean jetStream) {
        this.jetStream = jetStream;
    }

    /** A server with JetStream. */
    public static JetKV jetStream() {
        return new JetKV(true);
    }

    /** A server without JetStream. */
    public static JetKV core() {
        return new JetKV(false);
    }

    @Override
    public void beforeAll(ExtensionContext context) throws IOException {
        start();
    }

    @Override
    public void beforeEach(ExtensionContext context) throws IOException {
        if (process == null) {
            start();
        }
        reset();
    }

    @Override
    public void afterAll(ExtensionContext context) {
        close();
    }

    /** Starts the server, where no test does. */
    public JetKV start() throws IOException {
        folder = Files.createTempDirectory("jetkv-");
        Path ports = Files.createDirectory(folder.resolve("ports"));
        List<String> command = new ArrayList<>(List.of(binary(), "-a", "127.0.0.1", "-p", "-1", "-m", "-1"));
        command.addAll(List.of("-sd", folder.resolve("store").toString(), "--ports_file_dir", ports.toString()));
        if (jetStream) {
            command.add("-js");
        }
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.redirectOutput(folder.resolve("log").toFile()).environment().put("JETKV_LAB", "1");
        try {
            process = builder.start();
            findPorts(ports);
        } catch (IOException | RuntimeException error) {
            close();
            throw error;
        }
        return this;
    }

    private void findPorts(Path ports) throws IOException {
        long deadline = System.nanoTime() + START_LIMIT.toNanos();
        while (System.nanoTime() < deadline && process.isAlive()) {
            File[] files = ports.toFile().listFiles((dir, name) -> name.endsWith(".ports"));
            if (files != null && files.length > 0) {
                String text = Files.readString(files[0].toPath());
                Matcher nats = NATS.matcher(text);
                Matcher pages = PAGES.matcher(text);
                // It may be half written.
                if (text.stripTrailing().endsWith("}") && nats.find() && pages.find()) {
                    url = nats.group(1);
                    lab = pages.group(1) + "/lab/v1/";
                    return;
                }
            }
            pause();
        }
        throw new IOException("jetkv does not start:\n" + Files.readString(folder.resolve("log")));
    }

    private static void pause() {
        try {
            TimeUnit.MILLISECONDS.sleep(5);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while jetkv starts", error);
        }
    }

    /** The program: by JETKV_BIN, in the working directory, or on PATH. */
    private static String binary() throws IOException {
        String named = System.getenv("JETKV_BIN");
        if (named != null && !named.isEmpty()) {
            return named;
        }
        String path = System.getenv().getOrDefault("PATH", "");
        Stream<String> folders = Stream.concat(Stream.of("."), Stream.of(path.split(File.pathSeparator)));
        return folders.map(place -> Path.of(place, "jetkv"))
                .filter(Files::isExecutable)
                .map(found -> found.toAbsolutePath().toString())
                .findFirst()
                .orElseThrow(() -> new IOException("no jetkv: set JETKV_BIN, or put it on PATH"));
    }

    /** Where clients connect. */
    public String url() {
        return url;
    }

    /** Lets time pass. */
    public void advance(Duration by) {
        request("time", "advance", "{\"by\":" + by.toNanos() + "}");
    }

    /** Takes away all that is stored, the faults and the journal; the clock runs with the system's again. */
    public void reset() {
        request("state", "reset", "{}");
    }

    /** Adds a rule of faults, as the body of {@code FAULT.ADD} has it. */
    public void fault(String rule) {
        request("fault", "add", rule);
    }

    /** Takes the rules of faults away. */
    public void clearFaults() {
        request("fault", "clear", "{}");
    }

    /**
     * Makes any request to the lab; gives the answer, which is JSON.
     *
     * @throws LabException where the lab refuses it
     */
    public String request(String group, String verb, String body) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(lab + group + "/" + verb))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        try {
            HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new LabException(answer.statusCode(), answer.body());
            }
            return answer.body();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while the lab answers", error);
        }
    }

    /** Ends the server, and removes all that it stored. */
    @Override
    public void close() {
        if (process != null) {
            process.destroy();
            process.onExit().join();
            process = null;
        }
        if (folder != null) {
            try (Stream<Path> files = Files.walk(folder)) {
                files.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            folder = null;
        }
    }
}
