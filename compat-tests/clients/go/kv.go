package main

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func entryFields(e jetstream.KeyValueEntry) fields {
	value := string(e.Value())
	if len(value) > 64 {
		value = fmt.Sprintf("%d bytes", len(value))
	}
	return fields{
		"bucket": e.Bucket(), "key": e.Key(), "value": value, "revision": e.Revision(), "delta": e.Delta(),
		"operation": e.Operation().String(), "dated": !e.Created().IsZero(),
	}
}

func (w *world) entry(step string, e jetstream.KeyValueEntry, err error) {
	if err != nil {
		w.say(step, failure(err))
		return
	}
	w.say(step, entryFields(e))
}

func (w *world) history(step string, kv jetstream.KeyValue, key string) {
	entries, err := kv.History(w, key)
	if err != nil {
		w.say(step, failure(err))
		return
	}
	for _, e := range entries {
		w.say(step, entryFields(e))
	}
}

func (w *world) bucket(config jetstream.KeyValueConfig) jetstream.KeyValue {
	kv, err := w.js.CreateKeyValue(w, config)
	must(err)
	return kv
}

// kvBucket makes a bucket with each option and reads its status and its stream's configuration.
func kvBucket(w *world) {
	for _, config := range []jetstream.KeyValueConfig{
		{Bucket: "plain"},
		{Bucket: "memory", Storage: jetstream.MemoryStorage},
		{Bucket: "history", History: 64},
		{Bucket: "ttl", TTL: time.Hour},
		{Bucket: "short-ttl", TTL: 30 * time.Second},
		{Bucket: "sizes", MaxValueSize: 1024, MaxBytes: 1 << 20},
		{Bucket: "described", Description: "words of ünïcode", Metadata: map[string]string{"owner": "tests", "a": "b"}},
		{Bucket: "compressed", Compression: true},
		{Bucket: "replicas", Replicas: 1},
		{Bucket: "markers", LimitMarkerTTL: time.Minute},
		{Bucket: "republished", RePublish: &jetstream.RePublish{Source: ">", Destination: "again.>"}},
		{Bucket: "republished", RePublish: &jetstream.RePublish{Source: ">", Destination: "$KV.republished.>"}},
		{Bucket: "history-over", History: 65},
		{Bucket: "three", Replicas: 3},
		{Bucket: "marker-short", LimitMarkerTTL: time.Millisecond},
	} {
		kv, err := w.js.CreateKeyValue(w, config)
		if err != nil {
			w.say("create "+config.Bucket, failure(err))
			continue
		}
		_, err = kv.PutString(w, "k", strings.Repeat("value ", 20))
		must(err)
		w.status("status "+config.Bucket, kv)
		w.raw("stream of "+config.Bucket, "$JS.API.STREAM.INFO.KV_"+config.Bucket, "")
		must(w.js.DeleteKeyValue(w, config.Bucket))
	}
}

func (w *world) status(step string, kv jetstream.KeyValue) {
	status, err := kv.Status(w)
	if err != nil {
		w.say(step, failure(err))
		return
	}
	w.say(step, fields{
		"bucket": status.Bucket(), "values": status.Values(), "history": status.History(), "ttl": status.TTL().String(),
		"store": status.BackingStore(), "bytes": status.Bytes(), "compressed": status.IsCompressed(),
		"marker_ttl": status.LimitMarkerTTL().String(), "metadata": status.Metadata(),
	})
}

// kvManage makes, changes, lists, opens and deletes buckets.
func kvManage(w *world) {
	first := w.bucket(jetstream.KeyValueConfig{Bucket: "first", History: 2})
	w.bucket(jetstream.KeyValueConfig{Bucket: "second", Storage: jetstream.MemoryStorage})
	_, err := w.js.CreateKeyValue(w, jetstream.KeyValueConfig{Bucket: "first", History: 2})
	w.result("create the same again", "ok", err)
	_, err = w.js.CreateKeyValue(w, jetstream.KeyValueConfig{Bucket: "first", History: 3})
	w.result("create with another history", "ok", err)
	_, err = w.js.UpdateKeyValue(w, jetstream.KeyValueConfig{Bucket: "first", History: 4, Description: "changed"})
	w.result("update", "ok", err)
	w.status("status after update", first)
	_, err = w.js.UpdateKeyValue(w, jetstream.KeyValueConfig{Bucket: "first", Storage: jetstream.MemoryStorage})
	w.result("update storage", "ok", err)
	_, err = w.js.UpdateKeyValue(w, jetstream.KeyValueConfig{Bucket: "missing"})
	w.result("update a missing one", "ok", err)
	_, err = w.js.CreateOrUpdateKeyValue(w, jetstream.KeyValueConfig{Bucket: "third"})
	w.result("create or update", "ok", err)
	var names []string
	lister := w.js.KeyValueStoreNames(w)
	for name := range lister.Name() {
		names = append(names, name)
	}
	sort.Strings(names)
	w.result("names", names, lister.Error())
	statuses := w.js.KeyValueStores(w)
	var seen []string
	for status := range statuses.Status() {
		seen = append(seen, fmt.Sprint(status.Bucket(), " ", status.History(), " ", status.Values()))
	}
	sort.Strings(seen)
	w.result("list", seen, statuses.Error())
	_, err = w.js.KeyValue(w, "first")
	w.result("open", "ok", err)
	_, err = w.js.KeyValue(w, "missing")
	w.result("open a missing one", "ok", err)
	for _, name := range []string{"first", "second", "third", "first"} {
		w.result("delete "+name, "ok", w.js.DeleteKeyValue(w, name))
	}
	_, err = first.Get(w, "k")
	w.result("get from a deleted bucket", "ok", err)
	_, err = first.PutString(w, "k", "v")
	w.result("put to a deleted bucket", "ok", err)
}

// kvValues puts, reads and removes values in both kinds of storage.
func kvValues(w *world) {
	for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
		kv := w.bucket(jetstream.KeyValueConfig{Bucket: "values", History: 3, Storage: storage})
		for _, value := range []string{"one", "two", "three", "four"} {
			revision, err := kv.PutString(w, "k", value)
			w.result("put", revision, err)
		}
		e, err := kv.Get(w, "k")
		w.entry("get", e, err)
		for _, revision := range []uint64{2, 1, 99} {
			e, err = kv.GetRevision(w, "k", revision)
			w.entry(fmt.Sprint("get revision ", revision), e, err)
		}
		e, err = kv.GetRevision(w, "other", 2)
		w.entry("get a revision of another key", e, err)
		e, err = kv.Get(w, "missing")
		w.entry("get a missing key", e, err)
		revision, err := kv.Put(w, "empty", nil)
		w.result("put nothing", revision, err)
		e, err = kv.Get(w, "empty")
		w.entry("get nothing", e, err)
		created, err := kv.Create(w, "new", []byte("fresh"))
		w.result("create", created, err)
		revision, err = kv.Create(w, "new", []byte("again"))
		w.result("create again", revision, err)
		revision, err = kv.Update(w, "new", []byte("second"), created)
		w.result("update", revision, err)
		revision, err = kv.Update(w, "new", []byte("late"), created)
		w.result("update late", revision, err)
		revision, err = kv.Update(w, "unborn", []byte("x"), 7)
		w.result("update a missing key", revision, err)
		revision, err = kv.Update(w, "unborn", []byte("x"), 0)
		w.result("update from zero", revision, err)
		w.result("delete", "ok", kv.Delete(w, "new"))
		e, err = kv.Get(w, "new")
		w.entry("get deleted", e, err)
		w.result("delete again", "ok", kv.Delete(w, "new"))
		w.result("delete a missing key", "ok", kv.Delete(w, "nothing"))
		revision, err = kv.Create(w, "new", []byte("reborn"))
		w.result("create after delete", revision, err)
		w.result("delete at a wrong revision", "ok", kv.Delete(w, "new", jetstream.LastRevision(1)))
		w.result("delete at the revision", "ok", kv.Delete(w, "new", jetstream.LastRevision(revision)))
		w.result("purge at a wrong revision", "ok", kv.Purge(w, "k", jetstream.LastRevision(1)))
		w.result("purge", "ok", kv.Purge(w, "k"))
		w.history("history after purge", kv, "k")
		revision, err = kv.Create(w, "k", []byte("after purge"))
		w.result("create after purge", revision, err)
		w.status("status", kv)
		w.raw("stream", "$JS.API.STREAM.INFO.KV_values", `{"subjects_filter":">"}`)
		must(w.js.DeleteKeyValue(w, "values"))
	}
}

// kvNames tries names that are no names.
func kvNames(w *world) {
	for _, name := range []string{"", "a.b", "a b", "a*", ">", "a/b", "é", "ok_-9"} {
		_, err := w.js.CreateKeyValue(w, jetstream.KeyValueConfig{Bucket: name})
		w.result("bucket "+name, "ok", err)
	}
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "names"})
	for _, key := range []string{"", "a b", ".a", "a.", "a..b", "a*", ">", "a/b", "é", "A=b-_c.1/x", "_kv", strings.Repeat("k", 300)} {
		revision, err := kv.PutString(w, key, "x")
		w.result("put "+key, revision, err)
		e, err := kv.Get(w, key)
		w.entry("get "+key, e, err)
	}
	for _, name := range []string{"names", "ok_-9"} {
		must(w.js.DeleteKeyValue(w, name))
	}
}

// kvLimits overfills values and buckets.
func kvLimits(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "limits", MaxValueSize: 100, MaxBytes: 1000})
	for _, size := range []int{70, 99, 100, 101, 5000} {
		revision, err := kv.Put(w, fmt.Sprint("size", size), bytes.Repeat([]byte("x"), size))
		w.result(fmt.Sprint("put ", size), revision, err)
	}
	for i := range 10 {
		revision, err := kv.Put(w, fmt.Sprint("fill", i), bytes.Repeat([]byte("y"), 90))
		w.result("fill", revision, err)
	}
	revision, err := kv.PutString(w, "fill0", "z")
	w.result("put over an older value when full", revision, err)
	w.result("delete when full", "ok", kv.Delete(w, "fill1"))
	w.result("purge when full", "ok", kv.Purge(w, "fill1"))
	w.status("status when full", kv)
	kv2 := w.bucket(jetstream.KeyValueConfig{Bucket: "payload"})
	revision, err = kv2.Put(w, "big", make([]byte, 1<<20))
	w.result("put a value as large as a message", revision, err)
	_, err = kv2.Put(w, "bigger", make([]byte, 1<<20+1))
	w.result("put a value larger than a message", "ok", err)
	must(w.js.DeleteKeyValue(w, "limits"))
	must(w.js.DeleteKeyValue(w, "payload"))
}

// kvHistory reads histories at and over their limit.
func kvHistory(w *world) {
	for _, depth := range []uint8{1, 5, 64} {
		kv := w.bucket(jetstream.KeyValueConfig{Bucket: fmt.Sprint("history-", depth), History: depth})
		for i := range 8 {
			_, err := kv.PutString(w, "a.b", fmt.Sprint(i))
			must(err)
			_, err = kv.PutString(w, "a.c", fmt.Sprint(i))
			must(err)
		}
		must(kv.Delete(w, "a.b"))
		w.history(fmt.Sprint("history of depth ", depth), kv, "a.b")
		w.history(fmt.Sprint("wildcard at depth ", depth), kv, "a.*")
		w.history("missing key", kv, "nothing")
		must(w.js.DeleteKeyValue(w, kv.Bucket()))
	}
}

func (w *world) keys(step string, lister jetstream.KeyLister, err error) {
	if err != nil {
		w.say(step, failure(err))
		return
	}
	found := []string{}
	for key := range lister.Keys() {
		found = append(found, key)
	}
	sort.Strings(found)
	w.result(step, found, nil)
}

// kvKeys lists keys, all and by filters.
func kvKeys(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "keys", History: 5})
	keys, err := kv.Keys(w)
	w.result("keys of an empty bucket", keys, err)
	for _, key := range []string{"a.b.c", "a.b.d", "a.x", "b", "c.1", "c.2", "gone", "purged"} {
		for range 2 {
			_, err := kv.PutString(w, key, "v")
			must(err)
		}
	}
	must(kv.Delete(w, "gone"))
	must(kv.Purge(w, "purged"))
	keys, err = kv.Keys(w)
	sort.Strings(keys)
	w.result("keys", keys, err)
	lister, err := kv.ListKeys(w)
	w.keys("list keys", lister, err)
	for _, filters := range [][]string{{"a.>"}, {"*"}, {"c.*", "b"}, {"a.b.*", "c.1", "nothing"}, {"nothing"}, {"a.>", "a.b.*"}, {"gone"}} {
		name := strings.Join(filters, " ") // the library rewrites the filters that it is given
		lister, err = kv.ListKeysFiltered(w, filters...)
		w.keys("filter "+name, lister, err)
	}
	must(w.js.DeleteKeyValue(w, "keys"))
}

// kvTTL lets keys expire and sees the markers that take their place.
func kvTTL(w *world) {
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "markers", LimitMarkerTTL: time.Minute})
	watcher, err := kv.WatchAll(w)
	must(err)
	w.take("watch", watcher, 1)
	revision, err := kv.Create(w, "short", []byte("x"), jetstream.KeyTTL(time.Second))
	w.result("create with a TTL", revision, err)
	w.take("watch", watcher, 2)
	e, err := kv.Get(w, "short")
	w.entry("get expired", e, err)
	w.raw("marker", "$JS.API.STREAM.MSG.GET.KV_markers", `{"last_by_subj":"$KV.markers.short"}`)
	revision, err = kv.Create(w, "short", []byte("again"))
	w.result("create after expiry", revision, err)
	_, err = kv.Create(w, "tiny", []byte("x"), jetstream.KeyTTL(time.Millisecond))
	w.result("create with a TTL under a second", "ok", err)
	w.result("purge with a TTL", "ok", kv.Purge(w, "short", jetstream.PurgeTTL(time.Second)))
	w.take("watch", watcher, 1)
	must(watcher.Stop())
	must(w.js.DeleteKeyValue(w, "markers"))
	plain := w.bucket(jetstream.KeyValueConfig{Bucket: "plain"})
	_, err = plain.Create(w, "k", []byte("x"), jetstream.KeyTTL(time.Second))
	w.result("create with a TTL where TTLs are off", "ok", err)
	must(w.js.DeleteKeyValue(w, "plain"))
	aged := w.bucket(jetstream.KeyValueConfig{Bucket: "aged", TTL: time.Second, LimitMarkerTTL: 2 * time.Second})
	watcher, err = aged.WatchAll(w)
	must(err)
	_, err = aged.PutString(w, "k", "x")
	must(err)
	w.take("watch with max age", watcher, 3)
	must(watcher.Stop())
	must(w.js.DeleteKeyValue(w, "aged"))
}
