// JSON lines: what a step saw.

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

// Values up to this size are printed whole.
#define VALUE_MAX_BYTES 64
#define PHRASES 8
#define PHRASE_MAX_BYTES 512

static void print_string(const char *data, size_t length) {
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print_name(const char *name) {
    putchar(',');
    print_string(name, strlen(name));
    putchar(':');
}

void open_line(world *w, const char *step) {
    printf("{\"scenario\":\"%s\"", w->scenario);
    put_text("step", step);
}

void put_text(const char *name, const char *text) {
    print_name(name);
    if (text == NULL) {
        printf("null");
    } else {
        print_string(text, strlen(text));
    }
}

void put_number(const char *name, uint64_t number) {
    print_name(name);
    printf("%" PRIu64, number);
}

void put_flag(const char *name, bool flag) {
    print_name(name);
    printf(flag ? "true" : "false");
}

void put_texts(const char *name, char **texts, int count) {
    print_name(name);
    putchar('[');
    for (int i = 0; i < count; i++) {
        if (i > 0) {
            putchar(',');
        }
        print_string(texts[i], strlen(texts[i]));
    }
    putchar(']');
}

// A long value by its size alone.
void put_value(const char *name, const void *data, int length) {
    if (length > VALUE_MAX_BYTES) {
        put_text(name, phrase("%d bytes", length));
        return;
    }
    print_name(name);
    print_string(data, (size_t)length);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// All headers with all their values, by name.
void put_headers(natsMsg *msg) {
    const char **names = NULL;
    int count = 0;
    print_name("headers");
    if (natsMsgHeader_Keys(msg, &names, &count) != NATS_OK) {
        printf("null");
        nats_ReleaseThreadMemory();
        return;
    }
    qsort(names, (size_t)count, sizeof(char *), by_text);
    putchar('{');
    for (int i = 0; i < count; i++) {
        const char **values = NULL;
        int values_count = 0;
        natsMsgHeader_Values(msg, names[i], &values, &values_count);
        if (i > 0) {
            putchar(',');
        }
        print_string(names[i], strlen(names[i]));
        printf(":[");
        for (int j = 0; j < values_count; j++) {
            if (j > 0) {
                putchar(',');
            }
            print_string(values[j], strlen(values[j]));
        }
        putchar(']');
        free(values);
    }
    putchar('}');
    free(names);
}

void close_line(void) {
    puts("}");
    fflush(stdout);
}

// A formatted text in one of a few buffers: it lasts for the step that it is made for.
const char *phrase(const char *format, ...) {
    static char buffers[PHRASES][PHRASE_MAX_BYTES];
    static int next = 0;
    next = (next + 1) % PHRASES;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffers[next], PHRASE_MAX_BYTES, format, arguments);
    va_end(arguments);
    return buffers[next];
}

void say(world *w, const char *step, const char *name, const char *text) {
    open_line(w, step);
    put_text(name, text);
    close_line();
}

// The status, its text where the library gives one, and the code of JetStream.
void failure(world *w, const char *step, natsStatus status, jsErrCode code) {
    natsStatus told = NATS_OK;
    const char *text = nats_GetLastError(&told);
    open_line(w, step);
    put_text("error", natsStatus_GetText(status));
    if (text != NULL && text[0] != '\0' && told == status) {
        put_text("text", text);
    }
    if (code != 0) {
        put_number("err_code", (uint64_t)code);
    }
    close_line();
    // The text stays with the thread; the next failure may have none.
    nats_ReleaseThreadMemory();
}

void outcome(world *w, const char *step, natsStatus status, jsErrCode code) {
    if (status != NATS_OK) {
        failure(w, step, status, code);
        return;
    }
    say(w, step, "value", "ok");
    nats_ReleaseThreadMemory();
}

void number(world *w, const char *step, natsStatus status, uint64_t value) {
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    open_line(w, step);
    put_number("value", value);
    close_line();
    nats_ReleaseThreadMemory();
}

// Texts without an order of their own.
void list(world *w, const char *step, char **texts, int count) {
    if (count > 0) {
        qsort(texts, (size_t)count, sizeof(char *), by_text);
    }
    open_line(w, step);
    put_texts("value", texts, count);
    close_line();
}

// Sends a request as it is and reports the answer.
void raw(world *w, const char *step, const char *subject, const char *body) {
    natsMsg *answer = NULL;
    natsStatus status = natsConnection_RequestString(&answer, w->nc, subject, body, PATIENCE_MS);
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    const char *data = natsMsg_GetData(answer);
    int length = natsMsg_GetDataLength(answer);
    open_line(w, step);
    put_headers(answer);
    if (length > 0 && data[0] == '{') {
        printf(",\"json\":%.*s", length, data);
    } else {
        put_value("data", data, length);
    }
    close_line();
    natsMsg_Destroy(answer);
}
