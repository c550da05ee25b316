// Streams: publishing under conditions, managing, and reading single messages.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define ASYNC 100

// A message with headers, given as names and values in turn and ended by NULL.
natsMsg *message_with(world *w, const char *subject, const char *data, const char *const *headers) {
    natsMsg *msg = NULL;
    must(w, natsMsg_Create(&msg, subject, NULL, data, data == NULL ? 0 : (int)strlen(data)));
    for (; headers != NULL && *headers != NULL; headers += 2) {
        must(w, natsMsgHeader_Add(msg, headers[0], headers[1]));
    }
    return msg;
}

void fill(world *w, const char *subject, int count) {
    for (int i = 0; i < count; i++) {
        const char *text = phrase("message %d", i + 1);
        must(w, js_Publish(NULL, w->js, subject, text, (int)strlen(text), NULL, NULL));
    }
}

static void put_ack(const jsPubAck *ack) {
    put_text("stream", ack->Stream);
    put_number("sequence", ack->Sequence);
    put_flag("duplicate", ack->Duplicate);
    put_text("domain", ack->Domain);
}

static void publish(world *w, const char *step, const char *subject, jsPubOptions options,
                    const char *const *headers) {
    jsPubAck *ack = NULL;
    jsErrCode code = 0;
    natsMsg *msg = message_with(w, subject, "x", headers);
    natsStatus status = js_PublishMsg(&ack, w->js, msg, &options, &code);
    natsMsg_Destroy(msg);
    if (status != NATS_OK) {
        failure(w, step, status, code);
        return;
    }
    open_line(w, step);
    put_ack(ack);
    close_line();
    jsPubAck_Destroy(ack);
}

// Acknowledgements of pipelined publishes, brought by the library's own thread.
typedef struct {
    pthread_mutex_t lock;
    uint64_t sequences[ASYNC];
    int acknowledged;
    int refused;
    int duplicates;
} acknowledgements;

static void acknowledge(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *refusal, void *closure) {
    acknowledgements *seen = closure;
    (void)js;
    pthread_mutex_lock(&seen->lock);
    if (refusal != NULL) {
        seen->refused++;
    } else if (seen->acknowledged < ASYNC) {
        seen->sequences[seen->acknowledged++] = ack->Sequence;
        seen->duplicates += ack->Duplicate ? 1 : 0;
    }
    pthread_mutex_unlock(&seen->lock);
    natsMsg_Destroy(msg);
}

static void publish_pipelined(world *w) {
    static acknowledgements seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    jsCtx *js = NULL;
    jsOptions options;
    jsPubOptions patience;
    jsOptions_Init(&options);
    options.PublishAsync.AckHandler = acknowledge;
    options.PublishAsync.AckHandlerClosure = &seen;
    must(w, natsConnection_JetStream(&js, w->nc, &options));
    for (int i = 0; i < ASYNC; i++) {
        const char *text = phrase("%d", i);
        must(w, js_PublishAsync(js, "pub.async", text, (int)strlen(text), NULL));
    }
    must(w, js_PublishAsync(js, "pub.async", "x", 1, &(jsPubOptions){.ExpectStream = "OTHER"}));
    must(w, js_PublishAsync(js, "pub.async", "x", 1, &(jsPubOptions){.ExpectLastSeq = 1}));
    jsPubOptions_Init(&patience);
    patience.MaxWait = PATIENCE_MS;
    must(w, js_PublishAsyncComplete(js, &patience));
    pthread_mutex_lock(&seen.lock);
    bool ordered = true;
    for (int i = 1; i < seen.acknowledged; i++) {
        ordered = ordered && seen.sequences[i] == seen.sequences[i - 1] + 1;
    }
    open_line(w, "async");
    put_number("acknowledged", (uint64_t)seen.acknowledged);
    put_number("refused", (uint64_t)seen.refused);
    put_number("duplicates", (uint64_t)seen.duplicates);
    put_number("first", seen.sequences[0]);
    put_flag("ordered", ordered);
    close_line();
    pthread_mutex_unlock(&seen.lock);
    jsCtx_Destroy(js);
}

// Publishes with each condition that a publisher can set. The library's configuration of a stream knows no TTLs of
// messages, so the stream is made by a request.
void js_publish(world *w) {
    const char *config = "{\"name\":\"PUB\",\"subjects\":[\"pub.>\"],\"allow_direct\":true,\"allow_msg_ttl\":true}";
    const char *wildcard[] = {"Nats-Expected-Last-Subject-Sequence", "7", "Nats-Expected-Last-Subject-Sequence-Subject",
                              "pub.>", NULL};
    const char *ttl[] = {"Nats-TTL", "1m", NULL};
    const char *headers[] = {"A", "1", "A", "2", "lower-case", "with spaces inside", NULL};
    const jsPubOptions plain = {0};
    raw(w, "stream", "$JS.API.STREAM.CREATE.PUB", config);
    publish(w, "plain", "pub.a", plain, NULL);
    publish(w, "message id", "pub.a", (jsPubOptions){.MsgId = "one"}, NULL);
    publish(w, "message id again", "pub.a", (jsPubOptions){.MsgId = "one"}, NULL);
    publish(w, "expected stream", "pub.a", (jsPubOptions){.ExpectStream = "PUB"}, NULL);
    publish(w, "wrong stream", "pub.a", (jsPubOptions){.ExpectStream = "OTHER"}, NULL);
    publish(w, "expected last sequence", "pub.a", (jsPubOptions){.ExpectLastSeq = 3}, NULL);
    publish(w, "wrong last sequence", "pub.a", (jsPubOptions){.ExpectLastSeq = 3}, NULL);
    publish(w, "wrong last message id", "pub.a", (jsPubOptions){.ExpectLastMsgId = "other"}, NULL);
    publish(w, "message id two", "pub.b", (jsPubOptions){.MsgId = "two"}, NULL);
    publish(w, "expected last message id", "pub.a", (jsPubOptions){.ExpectLastMsgId = "two"}, NULL);
    publish(w, "expected last of subject", "pub.b", (jsPubOptions){.ExpectLastSubjectSeq = 5}, NULL);
    publish(w, "wrong last of subject", "pub.b", (jsPubOptions){.ExpectLastSubjectSeq = 5}, NULL);
    publish(w, "expected none of subject", "pub.fresh", (jsPubOptions){.ExpectNoMessage = true}, NULL);
    publish(w, "wrong none of subject", "pub.fresh", (jsPubOptions){.ExpectNoMessage = true}, NULL);
    publish(w, "last of a wildcard", "pub.b", plain, wildcard);
    publish(w, "TTL", "pub.c", plain, ttl);
    publish(w, "no stream", "nowhere", plain, NULL);
    publish(w, "headers", "pub.headers", plain, headers);
    raw(w, "headers as stored", "$JS.API.DIRECT.GET.PUB", "{\"last_by_subj\":\"pub.headers\"}");
    raw(w, "headers as stored in JSON", "$JS.API.STREAM.MSG.GET.PUB", "{\"last_by_subj\":\"pub.headers\"}");
    publish_pipelined(w);
    must(w, js_DeleteStream(w->js, "PUB", NULL, NULL));
}

static void message(world *w, const char *step, natsStatus status, jsErrCode code, natsMsg *msg) {
    if (status != NATS_OK) {
        failure(w, step, status, code);
        return;
    }
    open_line(w, step);
    put_text("subject", natsMsg_GetSubject(msg));
    put_number("sequence", natsMsg_GetSequence(msg));
    put_flag("dated", natsMsg_GetTime(msg) > 0);
    put_value("data", natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
    put_headers(msg);
    close_line();
    natsMsg_Destroy(msg);
}

static void get(world *w, const char *step, uint64_t sequence, const char *last_of) {
    natsMsg *msg = NULL;
    jsErrCode code = 0;
    natsStatus status = last_of == NULL ? js_GetMsg(&msg, w->js, "S", sequence, NULL, &code)
                                        : js_GetLastMsg(&msg, w->js, "S", last_of, NULL, &code);
    message(w, step, status, code, msg);
}

static void get_direct(world *w, const char *step, jsDirectGetMsgOptions options) {
    natsMsg *msg = NULL;
    natsStatus status = js_DirectGetMsg(&msg, w->js, "S", NULL, &options);
    message(w, step, status, 0, msg);
}

static void stream_info(world *w) {
    jsStreamInfo *info = NULL;
    jsOptions options;
    jsOptions_Init(&options);
    options.Stream.Info.SubjectsFilter = ">";
    options.Stream.Info.DeletedDetails = true;
    must(w, js_GetStreamInfo(&info, w->js, "S", &options, NULL));
    open_line(w, "info");
    put_number("messages", info->State.Msgs);
    put_number("bytes", info->State.Bytes);
    put_number("first", info->State.FirstSeq);
    put_number("last", info->State.LastSeq);
    put_number("subjects", (uint64_t)info->State.NumSubjects);
    put_number("deleted", (uint64_t)info->State.DeletedLen);
    put_number("consumers", (uint64_t)info->State.Consumers);
    close_line();
    const jsStreamStateSubjects *subjects = info->State.Subjects;
    char *seen[16];
    int count = 0;
    for (int i = 0; subjects != NULL && i < subjects->Count && i < LENGTH(seen); i++) {
        seen[count++] = strdup(phrase("%s %d", subjects->List[i].Subject, (int)subjects->List[i].Msgs));
    }
    list(w, "subjects", seen, count);
    while (count > 0) {
        free(seen[--count]);
    }
    jsStreamInfo_Destroy(info);
}

static void account(world *w) {
    jsAccountInfo *info = NULL;
    must(w, js_GetAccountInfo(&info, w->js, NULL, NULL));
    open_line(w, "account");
    put_number("memory", info->Memory);
    put_number("store", info->Store);
    put_number("streams", (uint64_t)info->Streams);
    put_number("consumers", (uint64_t)info->Consumers);
    put_text("domain", info->Domain);
    put_flag("limited", info->Limits.MaxStore >= 0 || info->Limits.MaxStreams >= 0);
    close_line();
    jsAccountInfo_Destroy(info);
}

static void read_messages(world *w) {
    get(w, "get", 3, NULL);
    get(w, "get last of a subject", 0, "s.a");
    get(w, "get missing", 99, NULL);
    get(w, "get last of a missing subject", 0, "s.none");
    get_direct(w, "get direct", (jsDirectGetMsgOptions){.Sequence = 3});
    get_direct(w, "get next of a subject", (jsDirectGetMsgOptions){.Sequence = 3, .NextBySubject = "s.b"});
    get_direct(w, "get direct last of a subject", (jsDirectGetMsgOptions){.LastBySubject = "s.a"});
    get_direct(w, "get direct missing", (jsDirectGetMsgOptions){.Sequence = 99});
    get_direct(w, "get direct last of a missing subject", (jsDirectGetMsgOptions){.LastBySubject = "s.none"});
}

static void purge(world *w, const char *step, const char *subject, uint64_t sequence, uint64_t keep) {
    jsOptions options;
    jsErrCode code = 0;
    jsOptions_Init(&options);
    options.Stream.Purge.Subject = subject;
    options.Stream.Purge.Sequence = sequence;
    options.Stream.Purge.Keep = keep;
    natsStatus status = js_PurgeStream(w->js, "S", &options, &code);
    outcome(w, step, status, code);
}

static void remove_messages(world *w) {
    jsErrCode code = 0;
    natsStatus status = js_DeleteMsg(w->js, "S", 4, NULL, &code);
    outcome(w, "delete message", status, code);
    status = js_DeleteMsg(w->js, "S", 4, NULL, &code);
    outcome(w, "delete message again", status, code);
    status = js_EraseMsg(w->js, "S", 5, NULL, &code);
    outcome(w, "securely delete message", status, code);
    raw(w, "state with deletes", "$JS.API.STREAM.INFO.S", "{\"deleted_details\":true}");
    purge(w, "purge subject", "s.a", 0, 0);
    purge(w, "purge keep", NULL, 0, 3);
    purge(w, "purge to sequence", NULL, 10, 0);
    purge(w, "purge keep and to sequence", NULL, 10, 3);
    raw(w, "state after purges", "$JS.API.STREAM.INFO.S", "");
    purge(w, "purge", NULL, 0, 0);
}

// Manages a stream and reads single messages.
void js_stream(world *w) {
    const char *subjects[] = {"s.*"};
    const char *overlapping[] = {"s.>"};
    const char *more[] = {"s.*", "t"};
    jsErrCode code = 0;
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = "S";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.AllowDirect = true;
    must(w, js_AddStream(NULL, w->js, &config, NULL, NULL));
    fill(w, "s.a", 5);
    fill(w, "s.b", 5);
    stream_info(w);
    account(w);
    raw(w, "config", "$JS.API.STREAM.INFO.S", "");
    read_messages(w);
    remove_messages(w);
    raw(w, "name by subject", "$JS.API.STREAM.NAMES", "{\"subject\":\"s.z\"}");
    jsStreamConfig second = config;
    second.Name = "S2";
    second.Subjects = overlapping;
    natsStatus status = js_AddStream(NULL, w->js, &second, NULL, &code);
    outcome(w, "overlapping subjects", status, code);
    config.Subjects = more;
    config.SubjectsLen = 2;
    config.MaxMsgs = 2;
    status = js_UpdateStream(NULL, w->js, &config, NULL, &code);
    outcome(w, "update", status, code);
    fill(w, "t", 4);
    raw(w, "state at its limit", "$JS.API.STREAM.INFO.S", "");
    jsStreamInfo *info = NULL;
    status = js_GetStreamInfo(&info, w->js, "missing", NULL, &code);
    outcome(w, "missing stream", status, code);
    status = js_AddStream(NULL, w->js, &(jsStreamConfig){.Name = "bad.name"}, NULL, &code);
    outcome(w, "bad name", status, code);
    must(w, js_DeleteStream(w->js, "S", NULL, NULL));
    status = js_DeleteStream(w->js, "S", NULL, &code);
    outcome(w, "delete again", status, code);
}
