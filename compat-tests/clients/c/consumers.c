// Consumers: pulled, ordered and pushed, with every kind of acknowledgement.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static void add_stream(world *w, const char *name, const char *subject, jsStorageType storage) {
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = &subject;
    config.SubjectsLen = 1;
    config.Storage = storage;
    must(w, js_AddStream(NULL, w->js, &config, NULL, NULL));
}

static void message(world *w, const char *step, natsMsg *msg) {
    jsMsgMetaData *meta = NULL;
    must(w, natsMsg_GetMetaData(&meta, msg));
    open_line(w, step);
    put_text("subject", natsMsg_GetSubject(msg));
    put_value("data", natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
    put_headers(msg);
    put_text("stream", meta->Stream);
    put_number("sequence", meta->Sequence.Stream);
    put_number("delivery", meta->Sequence.Consumer);
    put_number("deliveries", meta->NumDelivered);
    put_number("pending", meta->NumPending);
    close_line();
    jsMsgMetaData_Destroy(meta);
}

// A message's place in its stream and how often it was delivered, where the order of messages depends on the moment.
static const char *place(world *w, natsMsg *msg) {
    jsMsgMetaData *meta = NULL;
    must(w, natsMsg_GetMetaData(&meta, msg));
    const char *text = phrase("%02d delivered %d", (int)meta->Sequence.Stream, (int)meta->NumDelivered);
    jsMsgMetaData_Destroy(meta);
    return text;
}

static void double_ack(world *w, natsMsg *msg) {
    must(w, natsMsg_AckSync(msg, NULL, NULL));
}

static void fetch_and_answer(world *w, natsSubscription *sub) {
    natsMsgList batch = {0};
    must(w, natsSubscription_Fetch(&batch, sub, 4, PATIENCE_MS, NULL));
    for (int i = 0; i < batch.Count; i++) {
        message(w, "fetch", batch.Msgs[i]);
    }
    if (batch.Count != 4) {
        stop(w, "a batch that is not full");
    }
    jsErrCode code = 0;
    natsStatus status = natsMsg_AckSync(batch.Msgs[0], NULL, &code);
    outcome(w, "double ack", status, code);
    outcome(w, "nak", natsMsg_Nak(batch.Msgs[1], NULL), 0);
    outcome(w, "in progress", natsMsg_InProgress(batch.Msgs[2], NULL), 0);
    outcome(w, "term", natsMsg_Term(batch.Msgs[3], NULL), 0);
    must(w, natsConnection_FlushTimeout(w->nc, PATIENCE_MS));
    natsMsgList_Destroy(&batch);
}

// The new ones, the one that was refused and the one that was left alone, in whatever order they come.
static void fetch_the_rest(world *w, natsSubscription *sub) {
    char *places[10];
    for (int i = 0; i < LENGTH(places); i++) {
        natsMsgList batch = {0};
        must(w, natsSubscription_Fetch(&batch, sub, 1, PATIENCE_MS, NULL));
        places[i] = strdup(place(w, batch.Msgs[0]));
        double_ack(w, batch.Msgs[0]);
        natsMsgList_Destroy(&batch);
    }
    list(w, "the rest with their deliveries", places, LENGTH(places));
    for (int i = 0; i < LENGTH(places); i++) {
        free(places[i]);
    }
}

static void fetch_by(world *w, const char *step, natsSubscription *sub, jsFetchRequest request) {
    natsMsgList batch = {0};
    natsStatus status = natsSubscription_FetchRequest(&batch, sub, &request);
    if (status == NATS_TIMEOUT) {
        // The library has a text for it when its own clock was the first to run out, not the server's.
        nats_ReleaseThreadMemory();
    }
    if (status != NATS_OK) {
        failure(w, step, status, 0);
        return;
    }
    for (int i = 0; i < batch.Count; i++) {
        message(w, step, batch.Msgs[i]);
    }
    natsMsgList_Destroy(&batch);
}

// A consumer of one subject and from a sequence on, whose messages are not acknowledged.
static void pull_filtered(world *w) {
    jsConsumerConfig config;
    jsSubOptions binding;
    natsSubscription *sub = NULL;
    jsErrCode code = 0;
    jsConsumerConfig_Init(&config);
    config.Durable = "f";
    config.FilterSubject = "pull.b";
    config.DeliverPolicy = js_DeliverByStartSequence;
    config.OptStartSeq = 9;
    config.AckPolicy = js_AckNone;
    must(w, js_AddConsumer(NULL, w->js, "PULL", &config, NULL, NULL));
    jsSubOptions_Init(&binding);
    binding.Stream = "PULL";
    binding.Consumer = "f";
    must(w, js_PullSubscribe(&sub, w->js, "pull.b", NULL, NULL, &binding, NULL));
    fetch_by(w, "bytes", sub, (jsFetchRequest){.Batch = 10, .MaxBytes = 150, .Expires = PATIENCE_NS});
    fetch_by(w, "too few bytes", sub, (jsFetchRequest){.Batch = 10, .MaxBytes = 10, .Expires = PATIENCE_NS});
    for (int i = 0; i < 2; i++) {
        fetch_by(w, "one without waiting", sub, (jsFetchRequest){.Batch = 1, .NoWait = true, .Expires = PATIENCE_NS});
    }
    natsSubscription_Destroy(sub);
    natsStatus status = js_PullSubscribe(&sub, w->js, "pull.a", NULL, NULL, &binding, &code);
    outcome(w, "subscribe with another filter", status, code);
    config.FilterSubject = "pull.a";
    status = js_AddConsumer(NULL, w->js, "PULL", &config, NULL, &code);
    outcome(w, "create again with another filter", status, code);
    config.DeliverPolicy = js_DeliverAll;
    config.OptStartSeq = 0;
    status = js_AddConsumer(NULL, w->js, "PULL", &config, NULL, &code);
    outcome(w, "create again with another policy", status, code);
}

static void manage_consumers(world *w) {
    jsConsumerInfo *info = NULL;
    jsConsumerNamesList *names = NULL;
    jsErrCode code = 0;
    natsStatus status = js_GetConsumerInfo(&info, w->js, "PULL", "missing", NULL, &code);
    outcome(w, "missing consumer", status, code);
    status = js_DeleteConsumer(w->js, "PULL", "f", NULL, &code);
    outcome(w, "delete consumer", status, code);
    status = js_DeleteConsumer(w->js, "PULL", "f", NULL, &code);
    outcome(w, "delete consumer again", status, code);
    must(w, js_ConsumerNames(&names, w->js, "PULL", NULL, NULL));
    list(w, "names", names->List, names->Count);
    jsConsumerNamesList_Destroy(names);
    jsConsumerConfig config;
    jsConsumerConfig_Init(&config);
    config.Durable = "d";
    config.Description = "changed";
    config.AckWait = 3 * SECOND_NS;
    config.MaxDeliver = 4;
    status = js_UpdateConsumer(&info, w->js, "PULL", &config, NULL, &code);
    if (status != NATS_OK) {
        failure(w, "update consumer", status, code);
        return;
    }
    open_line(w, "update consumer");
    put_text("description", info->Config->Description);
    put_number("ack_wait_ns", (uint64_t)info->Config->AckWait);
    put_number("max_deliver", (uint64_t)info->Config->MaxDeliver);
    close_line();
    jsConsumerInfo_Destroy(info);
}

// Fetches, and answers in every way.
void js_pull(world *w) {
    jsConsumerConfig config;
    natsSubscription *sub = NULL;
    add_stream(w, "PULL", "pull.>", js_FileStorage);
    fill(w, "pull.a", 6);
    fill(w, "pull.b", 6);
    jsConsumerConfig_Init(&config);
    config.Durable = "d";
    config.AckPolicy = js_AckExplicit;
    config.AckWait = 2 * SECOND_NS;
    config.MaxDeliver = 3;
    must(w, js_AddConsumer(NULL, w->js, "PULL", &config, NULL, NULL));
    must(w, js_PullSubscribe(&sub, w->js, "pull.>", "d", NULL, NULL, NULL));
    raw(w, "consumer", "$JS.API.CONSUMER.INFO.PULL.d", "");
    fetch_and_answer(w, sub);
    fetch_the_rest(w, sub);
    raw(w, "consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d", "");
    fetch_by(w, "nothing left", sub, (jsFetchRequest){.Batch = 10, .Expires = SECOND_NS / 5});
    natsSubscription_Destroy(sub);
    pull_filtered(w);
    manage_consumers(w);
    must(w, js_DeleteStream(w->js, "PULL", NULL, NULL));
}

// Reads a stream in order without acknowledgements.
void js_ordered(world *w) {
    const struct {
        const char *subject;
        jsDeliverPolicy policy;
        uint64_t start;
        bool headers_only;
    } cases[] = {
        {"ord.>", js_DeliverAll, 0, false},
        {"ord.b", js_DeliverAll, 0, false},
        {"ord.>", js_DeliverLastPerSubject, 0, false},
        {"ord.>", js_DeliverLast, 0, false},
        {"ord.>", js_DeliverByStartSequence, 55, true},
    };
    add_stream(w, "ORD", "ord.>", js_MemoryStorage);
    fill(w, "ord.a", 30);
    fill(w, "ord.b", 30);
    for (int i = 0; i < LENGTH(cases); i++) {
        jsSubOptions options;
        natsSubscription *sub = NULL;
        uint64_t pending = 1;
        jsSubOptions_Init(&options);
        options.Ordered = true;
        options.Config.DeliverPolicy = cases[i].policy;
        options.Config.OptStartSeq = cases[i].start;
        options.Config.HeadersOnly = cases[i].headers_only;
        must(w, js_SubscribeSync(&sub, w->js, cases[i].subject, NULL, &options, NULL));
        while (pending > 0) {
            natsMsg *msg = NULL;
            jsMsgMetaData *meta = NULL;
            must(w, natsSubscription_NextMsg(&msg, sub, PATIENCE_MS));
            message(w, "ordered", msg);
            must(w, natsMsg_GetMetaData(&meta, msg));
            pending = meta->NumPending;
            jsMsgMetaData_Destroy(meta);
            natsMsg_Destroy(msg);
        }
        must(w, natsSubscription_Unsubscribe(sub));
        natsSubscription_Destroy(sub);
    }
    must(w, js_DeleteStream(w->js, "ORD", NULL, NULL));
}

// Answers a pushed message by its place in the stream: one is refused, one for a while, one is not wanted, one takes
// longer, and the others are acknowledged.
static void answer(world *w, natsMsg *msg) {
    jsMsgMetaData *meta = NULL;
    must(w, natsMsg_GetMetaData(&meta, msg));
    uint64_t sequence = meta->Sequence.Stream;
    bool first = meta->NumDelivered == 1;
    jsMsgMetaData_Destroy(meta);
    if (sequence == 6 && first) {
        must(w, natsMsg_Nak(msg, NULL));
    } else if (sequence == 3 && first) {
        must(w, natsMsg_NakWithDelay(msg, 300, NULL));
    } else if (sequence == 4) {
        must(w, natsMsg_Term(msg, NULL));
    } else {
        if (sequence == 5) {
            must(w, natsMsg_InProgress(msg, NULL));
        }
        double_ack(w, msg);
    }
}

static natsSubscription *bind(world *w, const char *consumer) {
    jsSubOptions binding;
    natsSubscription *sub = NULL;
    jsSubOptions_Init(&binding);
    binding.Stream = "PUSH";
    binding.Consumer = consumer;
    binding.ManualAck = true;
    must(w, js_SubscribeSync(&sub, w->js, "push.>", NULL, &binding, NULL));
    return sub;
}

// Two members of a queue group share the messages of a consumer.
static void push_to_a_group(world *w) {
    jsSubOptions options;
    natsSubscription *subs[2] = {0};
    char *places[6];
    int count = 0;
    jsSubOptions_Init(&options);
    options.Stream = "PUSH";
    options.Queue = "workers";
    options.ManualAck = true;
    for (int i = 0; i < LENGTH(subs); i++) {
        must(w, js_SubscribeSync(&subs[i], w->js, "push.>", NULL, &options, NULL));
    }
    int64_t deadline = nats_Now() + PATIENCE_MS;
    for (int turn = 0; count < LENGTH(places); turn++) {
        natsMsg *msg = NULL;
        if (natsSubscription_NextMsg(&msg, subs[turn % LENGTH(subs)], 10) == NATS_OK) {
            places[count++] = strdup(place(w, msg));
            double_ack(w, msg);
            natsMsg_Destroy(msg);
        } else if (nats_Now() > deadline) {
            stop(w, "nothing was pushed to a group");
        }
    }
    list(w, "group", places, count);
    while (count > 0) {
        free(places[--count]);
    }
    raw(w, "consumer of the group", "$JS.API.CONSUMER.INFO.PUSH.workers", "");
    for (int i = 0; i < LENGTH(subs); i++) {
        natsSubscription_Destroy(subs[i]);
    }
}

// Has messages pushed and answers them in each way.
void js_push(world *w) {
    jsConsumerConfig config;
    char *places[8];
    add_stream(w, "PUSH", "push.>", js_FileStorage);
    fill(w, "push.a", 6);
    jsConsumerConfig_Init(&config);
    config.Durable = "p";
    config.DeliverSubject = "deliver.here";
    config.AckPolicy = js_AckExplicit;
    config.AckWait = 30 * SECOND_NS;
    config.Heartbeat = SECOND_NS / 2;
    config.FlowControl = true;
    config.MaxDeliver = 4;
    must(w, js_AddConsumer(NULL, w->js, "PUSH", &config, NULL, NULL));
    natsSubscription *sub = bind(w, "p");
    // Six messages, one of them a second time after the nak and one after the delayed nak.
    for (int i = 0; i < LENGTH(places); i++) {
        natsMsg *msg = NULL;
        must(w, natsSubscription_NextMsg(&msg, sub, PATIENCE_MS));
        places[i] = strdup(place(w, msg));
        answer(w, msg);
        natsMsg_Destroy(msg);
    }
    list(w, "pushed with their deliveries", places, LENGTH(places));
    for (int i = 0; i < LENGTH(places); i++) {
        free(places[i]);
    }
    raw(w, "consumer", "$JS.API.CONSUMER.INFO.PUSH.p", "");
    jsErrCode code = 0;
    natsSubscription *second = NULL;
    jsSubOptions binding;
    jsSubOptions_Init(&binding);
    binding.Stream = "PUSH";
    binding.Consumer = "p";
    natsStatus status = js_SubscribeSync(&second, w->js, "push.>", NULL, &binding, &code);
    outcome(w, "bind twice", status, code);
    natsSubscription_Destroy(sub);
    push_to_a_group(w);
    must(w, js_DeleteStream(w->js, "PUSH", NULL, NULL));
}
