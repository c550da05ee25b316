package main

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// brief bounds what is to come too late.
const brief = 250 * time.Millisecond

// faults does what the harness asks for, line by line, while that has the server fail.
func faults(w *world) {
	kv, err := w.js.KeyValue(w, "b")
	must(err)
	var sub *nats.Subscription
	w.say("ready", nil)
	for input.Scan() {
		words := append(strings.Fields(input.Text()), "", "", "")
		limit := patience
		if strings.HasSuffix(words[0], "-briefly") {
			limit = brief
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		switch strings.TrimSuffix(words[0], "-briefly") {
		case "put":
			revision, err := kv.PutString(ctx, words[1], words[2])
			w.result(words[0], revision, err)
		case "get":
			entry, err := kv.Get(ctx, words[1])
			if err != nil {
				w.say(words[0], failure(err))
			} else {
				w.say(words[0], fields{"value": string(entry.Value()), "revision": entry.Revision()})
			}
		case "info":
			_, err := w.js.Stream(ctx, "KV_b")
			w.result(words[0], "ok", err)
		case "keys":
			keys, err := kv.Keys(ctx)
			w.result(words[0], keys, err)
		case "request":
			answer, err := w.nc.RequestWithContext(ctx, words[1], []byte(words[2]))
			if err != nil {
				w.say(words[0], failure(err))
			} else {
				w.result(words[0], string(answer.Data), nil)
			}
		case "publish":
			w.result(words[0], "ok", w.nc.Publish(words[1], []byte(words[2])))
		case "subscribe":
			if sub != nil {
				must(sub.Unsubscribe())
			}
			sub, err = w.nc.SubscribeSync(words[1])
			must(err)
			w.result(words[0], "ok", w.nc.Flush())
		case "next":
			msg, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				w.say(words[0], failure(err))
			} else {
				w.result(words[0], string(msg.Data), nil)
			}
		}
		cancel()
	}
}
