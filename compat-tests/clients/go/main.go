// Command driver walks through the list of KV steps with nats.go and prints what it sees.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A watcher notices a restart by the missing heartbeats of its consumer, two of five seconds each.
const wait = 45 * time.Second

type fields = map[string]any

func say(step string, seen fields) {
	line := fields{"step": step}
	for name, value := range seen {
		line[name] = value
	}
	text, err := json.Marshal(line)
	must(err)
	fmt.Println(string(text))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func outcome(step string, revision uint64, err error) {
	if err != nil {
		say(step, fields{"error": err.Error()})
		return
	}
	say(step, fields{"revision": revision})
}

func entry(e jetstream.KeyValueEntry) fields {
	return fields{
		"key": e.Key(), "value": string(e.Value()), "revision": e.Revision(),
		"operation": e.Operation().String(), "delta": e.Delta(),
	}
}

func sayEntry(step string, e jetstream.KeyValueEntry, err error) {
	if err != nil {
		say(step, fields{"error": err.Error()})
		return
	}
	say(step, entry(e))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	connection, err := nats.Connect(os.Args[1], nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	must(err)
	defer connection.Close()
	js, err := jetstream.New(connection)
	must(err)
	// nats-server removes the folder of the streams some time after the last of them was deleted, and cannot make a
	// stream meanwhile; with this one there is always a last one.
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "ANCHOR"})
	must(err)
	for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
		kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: "B", History: 3, Description: "words", Storage: storage, MaxValueSize: 1 << 16, MaxBytes: 1 << 24,
		})
		must(err)
		status(ctx, kv)
		values(ctx, kv)
		watches(ctx, kv)
		must(kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
		history(ctx, kv, "after purge of deletes")
		must(js.DeleteKeyValue(ctx, "B"))
	}
	refused(ctx, js)
	ttl(ctx, js)
	objects(ctx, js)
	manyKeys(ctx, js)
	restart(ctx, js)
}

func status(ctx context.Context, kv jetstream.KeyValue) {
	status, err := kv.Status(ctx)
	must(err)
	say("status", fields{
		"bucket": status.Bucket(), "history": status.History(), "ttl": status.TTL().String(), "values": status.Values(),
		"store": status.BackingStore(), "bytes": status.Bytes(), "compressed": status.IsCompressed(),
	})
}

func values(ctx context.Context, kv jetstream.KeyValue) {
	for _, value := range []string{"one", "two", "three", "four"} {
		revision, err := kv.PutString(ctx, "k", value)
		outcome("put", revision, err)
	}
	e, err := kv.Get(ctx, "k")
	sayEntry("get", e, err)
	e, err = kv.GetRevision(ctx, "k", 2)
	sayEntry("get revision", e, err)
	e, err = kv.GetRevision(ctx, "k", 1)
	sayEntry("get dropped revision", e, err)
	e, err = kv.Get(ctx, "missing")
	sayEntry("get missing", e, err)
	revision, err := kv.Create(ctx, "new", []byte("fresh"))
	outcome("create", revision, err)
	created := revision
	revision, err = kv.Create(ctx, "new", []byte("again"))
	outcome("create again", revision, err)
	revision, err = kv.Update(ctx, "new", []byte("second"), created)
	outcome("update", revision, err)
	revision, err = kv.Update(ctx, "new", []byte("late"), created)
	outcome("update late", revision, err)
	outcome("delete", 0, kv.Delete(ctx, "new"))
	e, err = kv.Get(ctx, "new")
	sayEntry("get deleted", e, err)
	revision, err = kv.Create(ctx, "new", []byte("reborn"))
	outcome("create after delete", revision, err)
	outcome("delete at a wrong revision", 0, kv.Delete(ctx, "new", jetstream.LastRevision(1)))
	history(ctx, kv, "history")
	outcome("purge", 0, kv.Purge(ctx, "k"))
	history(ctx, kv, "history after purge")
	for _, key := range []string{"", "a b", ".a", "a.", "a*", "a/b", "é", "A=b-_c.1"} {
		revision, err = kv.PutString(ctx, key, "x")
		outcome("put "+key, revision, err)
	}
	revision, err = kv.Put(ctx, "big", bytes.Repeat([]byte("x"), 1<<16+1))
	outcome("put too big", revision, err)
	keys, err := kv.Keys(ctx)
	sort.Strings(keys)
	say("keys", fields{"keys": keys, "error": fmt.Sprint(err)})
	lister, err := kv.ListKeysFiltered(ctx, "a/*", "n*", "new")
	must(err)
	var filtered []string
	for key := range lister.Keys() {
		filtered = append(filtered, key)
	}
	sort.Strings(filtered)
	say("keys filtered", fields{"keys": filtered})
}

func history(ctx context.Context, kv jetstream.KeyValue, step string) {
	for _, key := range []string{"k", "new", "nothing"} {
		entries, err := kv.History(ctx, key)
		var seen []fields
		for _, e := range entries {
			seen = append(seen, entry(e))
		}
		say(step, fields{"key": key, "entries": seen, "error": fmt.Sprint(err)})
	}
}

func watches(ctx context.Context, kv jetstream.KeyValue) {
	options := map[string][]jetstream.WatchOpt{
		"all":            nil,
		"history":        {jetstream.IncludeHistory()},
		"updates only":   {jetstream.UpdatesOnly()},
		"ignore deletes": {jetstream.IgnoreDeletes()},
		"meta only":      {jetstream.MetaOnly()},
		"resume":         {jetstream.ResumeFromRevision(5)},
	}
	names := []string{"all", "history", "updates only", "ignore deletes", "meta only", "resume"}
	for _, name := range names {
		watcher, err := kv.WatchAll(ctx, options[name]...)
		must(err)
		// The changes shall come after the initial values.
		time.Sleep(150 * time.Millisecond)
		_, err = kv.PutString(ctx, "w", name)
		must(err)
		must(kv.Delete(ctx, "w"))
		revision, err := kv.PutString(ctx, "end", name)
		must(err)
		follow("watch "+name, watcher, "end", revision-1)
	}
}

// follow prints what a watcher sees up to the given key. Where the mark of the initial values stands depends on when the
// changes came in, so that there was one is all that is said of it.
func follow(step string, watcher jetstream.KeyWatcher, last string, after uint64) {
	marks := 0
	for {
		select {
		case e := <-watcher.Updates():
			if e == nil {
				marks++
				continue
			}
			seen := entry(e)
			delete(seen, "delta")
			say(step, seen)
			if e.Key() == last && e.Revision() > after {
				must(watcher.Stop())
				say(step, fields{"marks": marks})
				return
			}
		case <-time.After(wait):
			say(step, fields{"error": "nothing came"})
			return
		}
	}
}

func refused(ctx context.Context, js jetstream.JetStream) {
	for _, bucket := range []string{"", "a.b", "a b", "*"} {
		_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket})
		say("create bucket "+bucket, fields{"error": fmt.Sprint(err)})
	}
	_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "H", History: 65})
	say("history too long", fields{"error": fmt.Sprint(err)})
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "R", Replicas: 3})
	say("replicas", fields{"error": fmt.Sprint(err)})
	_, err = js.KeyValue(ctx, "nothing")
	say("bucket missing", fields{"error": fmt.Sprint(err)})
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "S"})
	must(err)
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "S", History: 2})
	say("bucket again, other history", fields{"error": fmt.Sprint(err)})
	_, err = js.UpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "S", History: 2})
	say("update of a bucket", fields{"error": fmt.Sprint(err)})
	names := []string{}
	for name := range js.KeyValueStoreNames(ctx).Name() {
		names = append(names, name)
	}
	sort.Strings(names)
	say("bucket names", fields{"names": names})
	say("delete missing", fields{"error": fmt.Sprint(js.DeleteKeyValue(ctx, "nothing"))})
}

func ttl(ctx context.Context, js jetstream.JetStream) {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "T", LimitMarkerTTL: time.Second, Compression: true})
	must(err)
	watcher, err := kv.WatchAll(ctx)
	must(err)
	revision, err := kv.Create(ctx, "short", []byte("x"), jetstream.KeyTTL(time.Second))
	outcome("create with ttl", revision, err)
	revision, err = kv.Create(ctx, "long", []byte("y"), jetstream.KeyTTL(time.Hour))
	outcome("create with long ttl", revision, err)
	outcome("purge with ttl", 0, kv.Purge(ctx, "long", jetstream.PurgeTTL(time.Hour)))
	follow("expiry", watcher, "short", 1)
	e, err := kv.Get(ctx, "short")
	sayEntry("get expired", e, err)
}

func objects(ctx context.Context, js jetstream.JetStream) {
	store, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "O"})
	must(err)
	content := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	info, err := store.Put(ctx, jetstream.ObjectMeta{Name: "blob", Description: "d"}, bytes.NewReader(content))
	must(err)
	say("object put", fields{"size": info.Size, "chunks": info.Chunks, "digest": info.Digest})
	back, err := store.GetBytes(ctx, "blob")
	must(err)
	say("object get", fields{"equal": bytes.Equal(back, content)})
	_, err = store.GetBytes(ctx, "missing")
	say("object missing", fields{"error": fmt.Sprint(err)})
	must(store.Delete(ctx, "blob"))
	_, err = store.GetBytes(ctx, "blob")
	say("object deleted", fields{"error": fmt.Sprint(err)})
	list, err := store.List(ctx)
	say("object list", fields{"count": len(list), "error": fmt.Sprint(err)})
}

func manyKeys(ctx context.Context, js jetstream.JetStream) {
	const count = 100_000
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "MANY"})
	must(err)
	for i := range count {
		_, err := js.PublishAsync(fmt.Sprintf("$KV.MANY.key.%d", i), []byte("value"), jetstream.WithStallWait(wait))
		must(err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		must(ctx.Err())
	}
	lister, err := kv.ListKeys(ctx)
	must(err)
	unique := map[string]bool{}
	for key := range lister.Keys() {
		unique[key] = true
	}
	status, err := kv.Status(ctx)
	must(err)
	say("many keys", fields{"listed": len(unique), "values": status.Values(), "bytes": status.Bytes()})
	filtered, err := kv.ListKeysFiltered(ctx, "key.777")
	must(err)
	for key := range filtered.Keys() {
		say("one of many", fields{"key": key})
	}
	must(js.DeleteKeyValue(ctx, "MANY"))
}

func restart(ctx context.Context, js jetstream.JetStream) {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "W"})
	must(err)
	watcher, err := kv.WatchAll(ctx)
	must(err)
	_, err = kv.PutString(ctx, "before", "1")
	must(err)
	fmt.Println(`{"marker":"restart"}`)
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	deadline := time.Now().Add(wait)
	for {
		_, err = kv.PutString(ctx, "after", "2")
		if err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	must(err)
	follow("watch over a restart", watcher, "after", 0)
	e, err := kv.Get(ctx, "before")
	sayEntry("get after restart", e, err)
}
