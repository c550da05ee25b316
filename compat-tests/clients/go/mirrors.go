package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// arrived waits until a bucket's stream has got as far as a sequence, and reports what it is configured to take.
func (w *world) arrived(step, bucket string, lastSeq uint64) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		answer, err := w.nc.Request("$JS.API.STREAM.INFO.KV_"+bucket, nil, patience)
		must(err)
		var info struct {
			Config map[string]json.RawMessage `json:"config"`
			State  jetstream.StreamState      `json:"state"`
		}
		must(json.Unmarshal(answer.Data, &info))
		if info.State.LastSeq >= lastSeq {
			delete(info.Config, "metadata")
			w.say(step, fields{"config": info.Config, "messages": info.State.Msgs, "last": info.State.LastSeq})
			return
		}
		if time.Now().After(deadline) {
			must(fmt.Errorf("%s has %d of %d", bucket, info.State.LastSeq, lastSeq))
		}
	}
}

// kvMirrors makes buckets that mirror another one, or gather several.
func kvMirrors(w *world) {
	a := w.bucket(jetstream.KeyValueConfig{Bucket: "A", History: 3})
	b := w.bucket(jetstream.KeyValueConfig{Bucket: "B"})
	for _, value := range []string{"one", "two"} {
		_, err := a.PutString(w, "k", value)
		must(err)
	}
	_, err := a.PutString(w, "gone", "x")
	must(err)
	must(a.Delete(w, "gone"))
	_, err = b.PutString(w, "l", "other")
	must(err)
	m, err := w.js.CreateKeyValue(w, jetstream.KeyValueConfig{
		Bucket: "M", History: 3, Mirror: &jetstream.StreamSource{Name: "A"},
	})
	must(err)
	w.arrived("the mirror", "M", 4)
	w.all("mirror", m, "k", "gone")
	w.status("mirror", m)
	watcher, err := m.WatchAll(w)
	must(err)
	// The library looks for keys under the mirror's own name, where none are.
	w.take("watch of the mirror", watcher, 1)
	_, err = m.PutString(w, "k", "by the mirror")
	w.result("put by the mirror", "ok", err)
	w.arrived("the mirror", "M", 5)
	must(watcher.Stop())
	e, err := a.Get(w, "k")
	w.entry("get of the origin", e, err)
	w.result("delete by the mirror", "ok", m.Delete(w, "k"))
	w.arrived("the mirror", "M", 6)
	again, err := w.js.KeyValue(w, "M")
	must(err)
	w.all("mirror, opened", again, "k", "gone")
	s, err := w.js.CreateKeyValue(w, jetstream.KeyValueConfig{
		Bucket: "S", History: 3, Sources: []*jetstream.StreamSource{{Name: "B"}},
	})
	must(err)
	w.arrived("the gathered", "S", 1)
	_, err = w.js.UpdateKeyValue(w, jetstream.KeyValueConfig{
		Bucket: "S", History: 3, Sources: []*jetstream.StreamSource{{Name: "KV_B"}, {Name: "A", FilterSubject: "$KV.A.none"}},
	})
	w.result("update of the gathered", "ok", err)
	_, err = w.js.UpdateKeyValue(w, jetstream.KeyValueConfig{
		Bucket: "S", History: 3, Sources: []*jetstream.StreamSource{{Name: "KV_B"}, {Name: "A"}},
	})
	w.result("update of the gathered", "ok", err)
	w.arrived("the gathered", "S", 6)
	_, err = s.PutString(w, "own", "here")
	w.result("put of its own", "ok", err)
	w.all("gathered", s, "k", "l", "gone", "own")
	w.result("delete of what was gathered", "ok", s.Delete(w, "l"))
	e, err = b.Get(w, "l")
	w.entry("get of the origin", e, err)
	_, err = w.js.CreateKeyValue(w, jetstream.KeyValueConfig{Bucket: "X", Mirror: &jetstream.StreamSource{Name: "X"}})
	w.result("a mirror of itself", "ok", err)
	_, err = w.js.CreateKeyValue(w, jetstream.KeyValueConfig{
		Bucket: "Y", Mirror: &jetstream.StreamSource{Name: "none"}, Sources: []*jetstream.StreamSource{{Name: "A"}},
	})
	w.result("a mirror with sources", "ok", err)
	for _, name := range []string{"Y", "S", "M", "B", "A"} {
		w.result("delete "+name, "ok", w.js.DeleteKeyValue(w, name))
	}
}

// all reads keys, their values and the history of the first.
func (w *world) all(step string, kv jetstream.KeyValue, keys ...string) {
	for _, key := range keys {
		e, err := kv.Get(w, key)
		w.entry(step+", get "+key, e, err)
	}
	w.history(step+", history", kv, keys[0])
	found, err := kv.Keys(w)
	sort.Strings(found)
	w.result(step+", keys", found, err)
}
