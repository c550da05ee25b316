package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// update leaves out how many more values were on their way, which depends on the moment.
func update(e jetstream.KeyValueEntry) fields {
	seen := entryFields(e)
	delete(seen, "delta")
	return seen
}

// take reports the next updates of a watcher; the mark that all initial values have come counts as one.
func (w *world) take(step string, watcher jetstream.KeyWatcher, count int) {
	for range count {
		select {
		case e, open := <-watcher.Updates():
			switch {
			case !open:
				w.say(step, fields{"closed": true})
				return
			case e == nil:
				w.say(step, fields{"mark": true})
			default:
				w.say(step, update(e))
			}
		case <-time.After(patience):
			w.say(step, fields{"silent": true})
			return
		}
	}
}

// extra reports updates that should not be there.
func (w *world) extra(step string, watcher jetstream.KeyWatcher) {
	must(w.nc.Flush())
	for {
		select {
		case e := <-watcher.Updates():
			if e == nil {
				w.say(step, fields{"unexpected": "mark"})
			} else {
				w.say(step, fields{"unexpected": update(e)})
			}
		case <-time.After(30 * time.Millisecond):
			must(watcher.Stop())
			return
		}
	}
}

// counts says how many updates a watcher sees at first, after two puts and after two removals.
type counts struct{ first, puts, removals int }

// watchFresh watches a bucket with known values from before and writes while the watcher looks on. What a purge takes
// away is seen first: whether it would come otherwise depends on the moment.
func (w *world) watchFresh(step string, keys []string, seen counts, options []jetstream.WatchOpt) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "fresh-" + strings.ReplaceAll(step, " ", "-"), History: 5})
	defer func() { must(w.js.DeleteKeyValue(w, kv.Bucket())) }()
	write := func(key, value string) {
		_, err := kv.PutString(w, key, value)
		must(err)
	}
	write("a.1", "one")
	write("a.1", "two")
	write("a.2", "one")
	write("b", "one")
	write("gone", "one")
	must(kv.Delete(w, "gone"))
	watcher, err := kv.WatchFiltered(w, keys, options...)
	if err != nil {
		w.say(step, failure(err))
		return
	}
	w.take(step, watcher, seen.first)
	write("a.1", "further")
	write("b", "further")
	w.take(step, watcher, seen.puts)
	must(kv.Delete(w, "a.2"))
	must(kv.Purge(w, "b"))
	w.take(step, watcher, seen.removals)
	w.extra(step, watcher)
}

// kvWatch watches with each option.
func kvWatch(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "watch", History: 5})
	empty, err := kv.WatchAll(w)
	must(err)
	w.take("empty bucket", empty, 1)
	w.extra("empty bucket", empty)
	for _, watch := range []struct {
		step    string
		keys    []string
		seen    counts
		options []jetstream.WatchOpt
	}{
		{"all", []string{">"}, counts{5, 2, 2}, nil},
		{"one key", []string{"b"}, counts{2, 1, 1}, nil},
		{"missing key", []string{"nothing"}, counts{1, 0, 0}, nil},
		{"wildcard", []string{"a.*"}, counts{3, 1, 1}, nil},
		{"two filters", []string{"a.1", "b"}, counts{3, 2, 1}, nil},
		{"history", []string{">"}, counts{7, 2, 2}, []jetstream.WatchOpt{jetstream.IncludeHistory()}},
		{"updates only", []string{">"}, counts{0, 2, 2}, []jetstream.WatchOpt{jetstream.UpdatesOnly()}},
		{"ignore deletes", []string{">"}, counts{4, 2, 0}, []jetstream.WatchOpt{jetstream.IgnoreDeletes()}},
		{"meta only", []string{">"}, counts{5, 2, 2}, []jetstream.WatchOpt{jetstream.MetaOnly()}},
		{"resume", []string{">"}, counts{4, 2, 2}, []jetstream.WatchOpt{jetstream.ResumeFromRevision(4)}},
		{"resume in the future", []string{">"}, counts{1, 0, 0}, []jetstream.WatchOpt{jetstream.ResumeFromRevision(1000)}},
	} {
		w.watchFresh(watch.step, watch.keys, watch.seen, watch.options)
	}
	_, err = kv.WatchAll(w, jetstream.IncludeHistory(), jetstream.UpdatesOnly())
	w.result("history and updates only", "ok", err)
	_, err = kv.Watch(w, "a b")
	w.result("bad key", "ok", err)
	w.raw("consumers left", "$JS.API.CONSUMER.NAMES.KV_watch", "")
	must(w.js.DeleteKeyValue(w, "watch"))
}

// kvWatchWriting has watchers follow a bucket while it is written to.
func kvWatchWriting(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "writing"})
	all, err := kv.WatchAll(w)
	must(err)
	some, err := kv.Watch(w, "k.1.*")
	must(err)
	const writes = 2000
	go func() {
		for i := range writes {
			_, _ = w.js.PublishAsync(fmt.Sprintf("$KV.writing.k.%d.%d", i%10, i), []byte(fmt.Sprint(i)))
		}
	}()
	for _, watch := range []struct {
		step    string
		watcher jetstream.KeyWatcher
		writes  int
	}{{"all", all, writes}, {"some", some, writes / 10}} {
		var last uint64
		ordered, count, marks := true, 0, 0
		for count < watch.writes || marks == 0 {
			select {
			case e := <-watch.watcher.Updates():
				if e == nil {
					marks++
					continue
				}
				count++
				ordered = ordered && e.Revision() > last
				last = e.Revision()
			case <-time.After(patience):
				panic(fmt.Sprint("silent after ", count))
			}
		}
		w.say(watch.step, fields{"count": count, "ordered": ordered, "last": last, "marks": marks})
		w.extra(watch.step, watch.watcher)
	}
	<-w.js.PublishAsyncComplete()
	must(w.js.DeleteKeyValue(w, "writing"))
}

// kvTwo works with two buckets that must not see each other.
func kvTwo(w *world) {
	a := w.bucket(jetstream.KeyValueConfig{Bucket: "two", History: 5})
	b := w.bucket(jetstream.KeyValueConfig{Bucket: "two-b", History: 5, Storage: jetstream.MemoryStorage})
	watchA, err := a.WatchAll(w)
	must(err)
	watchB, err := b.WatchAll(w)
	must(err)
	for i := range 3 {
		revision, err := a.PutString(w, "k", fmt.Sprint("a", i))
		w.result("put to a", revision, err)
		revision, err = b.PutString(w, "k", fmt.Sprint("b", i))
		w.result("put to b", revision, err)
	}
	w.take("watch a", watchA, 4)
	w.extra("watch a", watchA)
	w.take("watch b", watchB, 4)
	w.extra("watch b", watchB)
	must(w.js.DeleteKeyValue(w, "two"))
	e, err := b.Get(w, "k")
	w.entry("b after the end of a", e, err)
	must(w.js.DeleteKeyValue(w, "two-b"))
}

func kvPurgeDeletes(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "graves", History: 5})
	for _, key := range []string{"a", "b", "c"} {
		for range 3 {
			_, err := kv.PutString(w, key, "v")
			must(err)
		}
	}
	must(kv.Delete(w, "a"))
	must(kv.Purge(w, "b"))
	w.result("young markers stay", "ok", kv.PurgeDeletes(w))
	w.history("a", kv, "a")
	w.history("b", kv, "b")
	w.result("all markers go", "ok", kv.PurgeDeletes(w, jetstream.DeleteMarkersOlderThan(-1)))
	w.history("a after", kv, "a")
	w.history("b after", kv, "b")
	w.history("c after", kv, "c")
	w.status("status", kv)
	must(w.js.DeleteKeyValue(w, "graves"))
}

// kvMany writes 100,000 keys, lists them and watches them.
func kvMany(w *world) {
	const count = 100_000
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "many"})
	for i := range count {
		_, err := w.js.PublishAsync(fmt.Sprintf("$KV.many.group%d.key%d", i%100, i), []byte(fmt.Sprint("value ", i)),
			jetstream.WithStallWait(patience))
		must(err)
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(2 * patience):
		panic("acks are missing")
	}
	w.status("status", kv)
	lister, err := kv.ListKeys(w)
	must(err)
	seen := map[string]bool{}
	for key := range lister.Keys() {
		seen[key] = true
	}
	w.result("keys", len(seen), nil)
	lister, err = kv.ListKeysFiltered(w, "group7.>")
	must(err)
	filtered := 0
	for range lister.Keys() {
		filtered++
	}
	w.result("keys of a group", filtered, nil)
	watcher, err := kv.WatchAll(w)
	must(err)
	values, bytes := 0, 0
	for e := range watcher.Updates() {
		if e == nil {
			break
		}
		values++
		bytes += len(e.Value())
	}
	w.say("initial values", fields{"count": values, "bytes": bytes})
	must(watcher.Stop())
	for _, i := range []int{0, 4711, count - 1} {
		e, err := kv.Get(w, fmt.Sprintf("group%d.key%d", i%100, i))
		w.entry("get", e, err)
	}
	must(w.js.DeleteKeyValue(w, "many"))
}

// kvRestart keeps a watcher on a bucket while the server is killed and ended and started again.
func kvRestart(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "restart", History: 10})
	for i := range 5 {
		_, err := kv.PutString(w, fmt.Sprint("k", i), "before")
		must(err)
	}
	watcher, err := kv.WatchAll(w)
	must(err)
	w.take("watch", watcher, 6)
	for _, signal := range []string{"KILL", "TERM"} {
		for i := range 5 {
			revision, err := kv.PutString(w, fmt.Sprint("k", i), "before "+signal)
			w.result("put before "+signal, revision, err)
		}
		w.ask(signal)
		for i := range 5 {
			revision, err := w.putUntil(kv, fmt.Sprint("k", i), "after "+signal)
			w.result("put after "+signal, revision, err)
		}
		w.take("watch over "+signal, watcher, 10)
		w.history("history after "+signal, kv, "k2")
	}
	w.extra("watch", watcher)
	w.status("status", kv)
	must(w.js.DeleteKeyValue(w, "restart"))
}

// putUntil repeats a put that found no server yet; only a put that was never acknowledged is repeated, and its value
// must be there once.
func (w *world) putUntil(kv jetstream.KeyValue, key, value string) (uint64, error) {
	deadline := time.Now().Add(patience)
	for !w.nc.IsConnected() && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	return kv.PutString(w, key, value)
}
