package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func (w *world) stream(config jetstream.StreamConfig) jetstream.Stream {
	stream, err := w.js.CreateStream(w, config)
	must(err)
	return stream
}

func (w *world) ack(step string, ack *jetstream.PubAck, err error) {
	if err != nil {
		w.say(step, failure(err))
		return
	}
	w.say(step, fields{"stream": ack.Stream, "sequence": ack.Sequence, "duplicate": ack.Duplicate, "domain": ack.Domain})
}

func (w *world) fill(subject string, count int) {
	for i := range count {
		_, err := w.js.Publish(w, subject, []byte(fmt.Sprint("message ", i+1)))
		must(err)
	}
}

func (w *world) message(step string, msg jetstream.Msg) {
	meta, err := msg.Metadata()
	must(err)
	w.say(step, fields{
		"subject": msg.Subject(), "data": string(msg.Data()), "headers": msg.Headers(), "stream": meta.Stream,
		"sequence": meta.Sequence.Stream, "delivery": meta.Sequence.Consumer, "deliveries": meta.NumDelivered,
		"pending": meta.NumPending,
	})
}

// jsPublish publishes with each condition that a publisher can set.
func jsPublish(w *world) {
	w.stream(jetstream.StreamConfig{Name: "PUB", Subjects: []string{"pub.>"}, AllowMsgTTL: true, AllowDirect: true})
	publish := func(step, subject string, options ...jetstream.PublishOpt) {
		ack, err := w.js.Publish(w, subject, []byte("x"), options...)
		w.ack(step, ack, err)
	}
	publish("plain", "pub.a")
	publish("message id", "pub.a", jetstream.WithMsgID("one"))
	publish("message id again", "pub.a", jetstream.WithMsgID("one"))
	publish("expected stream", "pub.a", jetstream.WithExpectStream("PUB"))
	publish("wrong stream", "pub.a", jetstream.WithExpectStream("OTHER"))
	publish("expected last sequence", "pub.a", jetstream.WithExpectLastSequence(3))
	publish("wrong last sequence", "pub.a", jetstream.WithExpectLastSequence(3))
	publish("wrong last message id", "pub.a", jetstream.WithExpectLastMsgID("other"))
	publish("message id two", "pub.b", jetstream.WithMsgID("two"))
	publish("expected last message id", "pub.a", jetstream.WithExpectLastMsgID("two"))
	publish("expected last of subject", "pub.b", jetstream.WithExpectLastSequencePerSubject(5))
	publish("wrong last of subject", "pub.b", jetstream.WithExpectLastSequencePerSubject(5))
	publish("last of a wildcard", "pub.b", jetstream.WithExpectLastSequenceForSubject(7, "pub.>"))
	publish("TTL", "pub.c", jetstream.WithMsgTTL(time.Minute))
	publish("no stream", "nowhere", jetstream.WithRetryAttempts(0))
	message := nats.NewMsg("pub.headers")
	message.Header.Add("A", "1")
	message.Header.Add("A", "2")
	message.Header.Set("lower-case", "with spaces inside")
	ack, err := w.js.PublishMsg(w, message)
	w.ack("headers", ack, err)
	w.raw("headers as stored", "$JS.API.DIRECT.GET.PUB", `{"last_by_subj":"pub.headers"}`)
	var futures []jetstream.PubAckFuture
	for i := range 100 {
		future, err := w.js.PublishAsync("pub.async", []byte(fmt.Sprint(i)))
		must(err)
		futures = append(futures, future)
	}
	for _, future := range futures {
		select {
		case ack := <-future.Ok():
			w.ack("async", ack, nil)
		case err := <-future.Err():
			w.ack("async", nil, err)
		}
	}
	must(w.js.DeleteStream(w, "PUB"))
}

// jsStream manages a stream and reads single messages.
func jsStream(w *world) {
	stream := w.stream(jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, AllowDirect: true})
	w.fill("s.a", 5)
	w.fill("s.b", 5)
	info, err := stream.Info(w, jetstream.WithSubjectFilter(">"))
	must(err)
	w.say("info", fields{"config": info.Config, "state": fields{
		"messages": info.State.Msgs, "bytes": info.State.Bytes, "first": info.State.FirstSeq, "last": info.State.LastSeq,
		"subjects": info.State.Subjects, "consumers": info.State.Consumers,
	}})
	get := func(step string, read func() (*jetstream.RawStreamMsg, error)) {
		msg, err := read()
		if err != nil {
			w.say(step, failure(err))
			return
		}
		w.say(step, fields{"subject": msg.Subject, "sequence": msg.Sequence, "data": string(msg.Data), "headers": len(msg.Header)})
	}
	get("get", func() (*jetstream.RawStreamMsg, error) { return stream.GetMsg(w, 3) })
	get("get next of a subject", func() (*jetstream.RawStreamMsg, error) {
		return stream.GetMsg(w, 3, jetstream.WithGetMsgSubject("s.b"))
	})
	get("get last of a subject", func() (*jetstream.RawStreamMsg, error) { return stream.GetLastMsgForSubject(w, "s.a") })
	get("get missing", func() (*jetstream.RawStreamMsg, error) { return stream.GetMsg(w, 99) })
	get("get last of a missing subject", func() (*jetstream.RawStreamMsg, error) {
		return stream.GetLastMsgForSubject(w, "s.none")
	})
	w.result("delete message", "ok", stream.DeleteMsg(w, 4))
	w.result("delete message again", "ok", stream.DeleteMsg(w, 4))
	w.result("securely delete message", "ok", stream.SecureDeleteMsg(w, 5))
	w.raw("state with deletes", "$JS.API.STREAM.INFO.S", `{"deleted_details":true}`)
	w.result("purge subject", "ok", stream.Purge(w, jetstream.WithPurgeSubject("s.a")))
	w.result("purge keep", "ok", stream.Purge(w, jetstream.WithPurgeKeep(3)))
	w.result("purge to sequence", "ok", stream.Purge(w, jetstream.WithPurgeSequence(10)))
	w.raw("state after purges", "$JS.API.STREAM.INFO.S", "")
	w.result("purge", "ok", stream.Purge(w))
	name, err := w.js.StreamNameBySubject(w, "s.z")
	w.result("name by subject", name, err)
	_, err = w.js.CreateStream(w, jetstream.StreamConfig{Name: "S2", Subjects: []string{"s.>"}})
	w.result("overlapping subjects", "ok", err)
	_, err = w.js.UpdateStream(w, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*", "t"}, MaxMsgs: 2})
	w.result("update", "ok", err)
	w.fill("t", 4)
	w.raw("state at its limit", "$JS.API.STREAM.INFO.S", "")
	_, err = w.js.Stream(w, "missing")
	w.result("missing stream", "ok", err)
	must(w.js.DeleteStream(w, "S"))
}

// jsPull fetches and consumes.
func jsPull(w *world) {
	stream := w.stream(jetstream.StreamConfig{Name: "PULL", Subjects: []string{"pull.>"}})
	w.fill("pull.a", 6)
	w.fill("pull.b", 6)
	consumer, err := stream.CreateOrUpdateConsumer(w, jetstream.ConsumerConfig{
		Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: 3,
	})
	must(err)
	w.raw("consumer", "$JS.API.CONSUMER.INFO.PULL.d", "")
	w.fetch(consumer)
	w.raw("consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d", "")
	w.consume(stream)
	_, err = stream.CreateConsumer(w, jetstream.ConsumerConfig{Durable: "f", FilterSubject: "pull.x"})
	w.result("create another under the same name", "ok", err)
	_, err = stream.Consumer(w, "missing")
	w.result("missing consumer", "ok", err)
	w.result("delete consumer", "ok", stream.DeleteConsumer(w, "f"))
	w.result("delete consumer again", "ok", stream.DeleteConsumer(w, "f"))
	names := stream.ConsumerNames(w)
	for name := range names.Name() {
		w.result("name", name, nil)
	}
	must(w.js.DeleteStream(w, "PULL"))
}

// fetch takes what a consumer has and answers it in each way.
func (w *world) fetch(consumer jetstream.Consumer) {
	batch, err := consumer.Fetch(4)
	must(err)
	number := 0
	for msg := range batch.Messages() {
		w.message("fetch", msg)
		number++
		switch number {
		case 1:
			w.result("double ack", "ok", msg.DoubleAck(w))
		case 2:
			w.result("nak", "ok", msg.Nak())
		case 3:
			w.result("in progress", "ok", msg.InProgress())
		case 4:
			w.result("term", "ok", msg.TermWithReason("not wanted"))
		}
	}
	must(w.nc.Flush())
	// Whether the message that was refused comes before new ones depends on the moment.
	rest := map[uint64]uint64{}
	for range 10 {
		msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
		must(err)
		meta, err := msg.Metadata()
		must(err)
		rest[meta.Sequence.Stream] = meta.NumDelivered
		must(msg.DoubleAck(w))
	}
	w.result("the rest with their deliveries", rest, nil)
	batch, err = consumer.FetchNoWait(100)
	must(err)
	for msg := range batch.Messages() {
		w.message("fetch without waiting", msg)
	}
	_, err = consumer.Next(jetstream.FetchMaxWait(100 * time.Millisecond))
	w.result("nothing left", "ok", err)
}

// consume has messages called back as they come.
func (w *world) consume(stream jetstream.Stream) {
	filtered, err := stream.CreateConsumer(w, jetstream.ConsumerConfig{
		Durable: "f", FilterSubjects: []string{"pull.b", "pull.c"}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: 9, AckPolicy: jetstream.AckNonePolicy,
	})
	must(err)
	messages := make(chan jetstream.Msg, 100)
	running, err := filtered.Consume(func(msg jetstream.Msg) { messages <- msg })
	must(err)
	for i := range 6 {
		if i >= 4 { // one at a time: each message tells how many are pending
			w.fill("pull.c", 1)
		}
		select {
		case msg := <-messages:
			w.message("consume", msg)
		case <-time.After(patience):
			panic("nothing to consume")
		}
	}
	running.Stop()
}

// jsOrdered reads a stream in order without acknowledgements.
func jsOrdered(w *world) {
	stream := w.stream(jetstream.StreamConfig{Name: "ORD", Subjects: []string{"ord.>"}, Storage: jetstream.MemoryStorage})
	w.fill("ord.a", 30)
	w.fill("ord.b", 30)
	for _, config := range []jetstream.OrderedConsumerConfig{
		{},
		{FilterSubjects: []string{"ord.b"}},
		{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy},
		{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 55, HeadersOnly: true},
	} {
		consumer, err := stream.OrderedConsumer(w, config)
		must(err)
		messages, err := consumer.Messages()
		must(err)
		for {
			msg, err := messages.Next()
			must(err)
			w.message("ordered", msg)
			if meta, _ := msg.Metadata(); meta.NumPending == 0 {
				break
			}
		}
		messages.Stop()
	}
	must(w.js.DeleteStream(w, "ORD"))
}

// jsPush has messages pushed and answers them in each way.
func jsPush(w *world) {
	w.stream(jetstream.StreamConfig{Name: "PUSH", Subjects: []string{"push.>"}})
	w.fill("push.a", 6)
	consumer, err := w.js.CreatePushConsumer(w, "PUSH", jetstream.ConsumerConfig{
		Durable: "p", DeliverSubject: "deliver.here", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second,
		IdleHeartbeat: 500 * time.Millisecond, FlowControl: true, MaxDeliver: 4,
	})
	must(err)
	messages := make(chan jetstream.Msg, 100)
	running, err := consumer.Consume(func(msg jetstream.Msg) { messages <- msg })
	must(err)
	// Six messages, one of them a second time after the nak and one after the delayed nak.
	for range 8 {
		select {
		case msg := <-messages:
			meta, err := msg.Metadata()
			must(err)
			w.message("pushed", msg)
			switch {
			case meta.Sequence.Stream == 6 && meta.NumDelivered == 1:
				must(msg.Nak())
			case meta.Sequence.Stream == 3 && meta.NumDelivered == 1:
				must(msg.NakWithDelay(300 * time.Millisecond))
			case meta.Sequence.Stream == 4:
				must(msg.Term())
			case meta.Sequence.Stream == 5:
				must(msg.InProgress())
				must(msg.DoubleAck(w))
			default:
				must(msg.DoubleAck(w))
			}
		case <-time.After(patience):
			panic("nothing was pushed")
		}
	}
	// When a server notices that nobody listens any more depends on the moment.
	w.raw("consumer", "$JS.API.CONSUMER.INFO.PUSH.p", "")
	running.Stop()
	must(w.js.DeleteStream(w, "PUSH"))
}
