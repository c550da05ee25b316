package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// core sends, asks and shares among queue groups without JetStream.
func core(w *world) {
	sub, err := w.nc.SubscribeSync("core.>")
	must(err)
	msg := nats.NewMsg("core.a.b")
	msg.Data, msg.Header = []byte("data"), nats.Header{"K": {"v1", "v2"}}
	must(w.nc.PublishMsg(msg))
	got, err := sub.NextMsg(patience)
	must(err)
	w.say("message", fields{"subject": got.Subject, "data": string(got.Data), "headers": got.Header})
	must(sub.Unsubscribe())
	echo, err := w.nc.Subscribe("ask.*", func(m *nats.Msg) {
		_ = m.Respond([]byte("answer to " + string(m.Data) + " on " + m.Subject))
	})
	must(err)
	answer, err := w.nc.Request("ask.me", []byte("question"), patience)
	must(err)
	w.say("request", fields{"data": string(answer.Data)})
	must(echo.Unsubscribe())
	_, err = w.nc.Request("nobody.here", nil, patience)
	w.result("no responders", "ok", err)
	// Each message goes to one member of each group, and to each plain subscription.
	seen := make(chan string, 400)
	var subs []*nats.Subscription
	for _, group := range []string{"one", "one", "one", "two", "two", ""} {
		handler := func(m *nats.Msg) { seen <- group + " " + string(m.Data) }
		var sub *nats.Subscription
		if group == "" {
			sub, err = w.nc.Subscribe("queue.>", handler)
		} else {
			sub, err = w.nc.QueueSubscribe("queue.*", group, handler)
		}
		must(err)
		subs = append(subs, sub)
	}
	for i := range 50 {
		must(w.nc.Publish("queue.x", []byte(fmt.Sprintf("%02d", i))))
	}
	var all []string
	for range 150 {
		select {
		case one := <-seen:
			all = append(all, one)
		case <-time.After(patience):
			panic("queue groups are silent")
		}
	}
	must(w.nc.Flush())
	sort.Strings(all)
	w.say("queue groups", fields{"seen": strings.Join(all, ","), "more": len(seen)})
	for _, sub := range subs {
		must(sub.Unsubscribe())
	}
	limited, err := w.nc.SubscribeSync("limited")
	must(err)
	must(limited.AutoUnsubscribe(2))
	for range 4 {
		must(w.nc.Publish("limited", nil))
	}
	must(w.nc.Flush())
	for range 3 {
		_, err := limited.NextMsg(patience)
		w.result("auto-unsubscribe", "ok", err)
	}
	w.result("too large", "ok", w.nc.Publish("x", make([]byte, w.nc.MaxPayload()+1)))
	w.result("max payload", w.nc.MaxPayload(), nil)
	w.result("headers supported", w.nc.HeadersSupported(), nil)
}

// services offers a service and asks it and about it.
func services(w *world) {
	service, err := micro.AddService(w.nc, micro.Config{
		Name: "adder", Version: "1.2.3", Description: "adds", Metadata: map[string]string{"k": "v"},
	})
	must(err)
	group := service.AddGroup("math")
	must(group.AddEndpoint("echo", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(r.Data()) })))
	must(group.AddEndpoint("fail", micro.HandlerFunc(func(r micro.Request) { _ = r.Error("400", "no good", []byte("data")) })))
	for _, subject := range []string{"math.echo", "math.fail", "math.none"} {
		answer, err := w.nc.Request(subject, []byte("1"), patience)
		if err != nil {
			w.say(subject, failure(err))
			continue
		}
		w.say(subject, fields{"data": string(answer.Data), "headers": answer.Header})
	}
	for _, subject := range []string{"$SRV.PING", "$SRV.PING.adder", "$SRV.INFO.adder", "$SRV.STATS.adder", "$SRV.PING.none"} {
		w.raw(subject, subject, "")
	}
	must(service.Stop())
	_, err = w.nc.Request("math.echo", nil, patience)
	w.result("after the stop", "ok", err)
}
