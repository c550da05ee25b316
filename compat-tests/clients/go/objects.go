package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sort"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func infoFields(info *jetstream.ObjectInfo) fields {
	seen := fields{
		"name": info.Name, "description": info.Description, "headers": info.Headers, "metadata": info.Metadata,
		"size": info.Size, "chunks": info.Chunks, "digest": info.Digest, "deleted": info.Deleted, "bucket": info.Bucket,
	}
	if info.Opts != nil {
		seen["chunk_size"], seen["link"] = info.Opts.ChunkSize, info.Opts.Link
	}
	return seen
}

func (w *world) object(step string, info *jetstream.ObjectInfo, err error) {
	if err != nil {
		w.say(step, failure(err))
		return
	}
	w.say(step, infoFields(info))
}

// objects keeps, reads, lists, watches, links and deletes objects.
func objects(w *world) {
	store, err := w.js.CreateObjectStore(w, jetstream.ObjectStoreConfig{
		Bucket: "things", Description: "a store", Metadata: map[string]string{"a": "b"}, MaxBytes: 1 << 26,
	})
	must(err)
	w.raw("stream", "$JS.API.STREAM.INFO.OBJ_things", "")
	watcher, err := store.Watch(w)
	must(err)
	w.putAndLink(store)
	w.objectList("list", store)
	w.result("delete", "ok", store.Delete(w, "tiny"))
	w.result("delete missing", "ok", store.Delete(w, "missing"))
	_, err = store.GetBytes(w, "tiny")
	w.result("get deleted", "ok", err)
	w.objectList("list after delete", store)
	w.objectList("list with deleted", store, jetstream.ListObjectsShowDeleted())
	// The mark, three puts, the rename, the second put, the link and the delete.
	for range 8 {
		select {
		case info := <-watcher.Updates():
			if info == nil {
				w.say("watch", fields{"mark": true})
			} else {
				w.say("watch", infoFields(info))
			}
		case <-time.After(patience):
			panic("the object watcher is silent")
		}
	}
	must(watcher.Stop())
	status, err := store.Status(w)
	must(err)
	w.say("status", fields{
		"bucket": status.Bucket(), "description": status.Description(), "ttl": status.TTL().String(),
		"storage": status.Storage().String(), "replicas": status.Replicas(), "sealed": status.Sealed(),
		"store": status.BackingStore(), "metadata": status.Metadata(), "compressed": status.IsCompressed(),
	})
	w.result("seal", "ok", store.Seal(w))
	_, err = store.PutString(w, "late", "x")
	w.result("put to a sealed store", "ok", err)
	w.result("delete store", "ok", w.js.DeleteObjectStore(w, "things"))
	_, err = w.js.ObjectStore(w, "things")
	w.result("open a missing store", "ok", err)
}

// putAndLink keeps objects of each size, reads them, renames one and links to it.
func (w *world) putAndLink(store jetstream.ObjectStore) {
	big := make([]byte, 700_000)
	for i := range big {
		big[i] = byte(i * 7 % 251)
	}
	info, err := store.PutString(w, "small", "a small thing")
	w.object("put small", info, err)
	info, err = store.PutBytes(w, "empty", nil)
	w.object("put empty", info, err)
	info, err = store.Put(w, jetstream.ObjectMeta{
		Name: "folder/big thing", Description: "big", Headers: nats.Header{"X": {"1", "2"}}, Metadata: map[string]string{"k": "v"},
		Opts: &jetstream.ObjectMetaOptions{ChunkSize: 64 * 1024},
	}, bytes.NewReader(big))
	w.object("put big", info, err)
	read, err := store.GetBytes(w, "folder/big thing")
	w.result("get big", fmt.Sprintf("%d %x", len(read), sha256.Sum256(read)), err)
	text, err := store.GetString(w, "small")
	w.result("get small", text, err)
	_, err = store.GetBytes(w, "missing")
	w.result("get missing", "ok", err)
	info, err = store.GetInfo(w, "folder/big thing")
	w.object("info", info, err)
	w.result("rename", "ok", store.UpdateMeta(w, "small", jetstream.ObjectMeta{Name: "tiny", Description: "renamed"}))
	info, err = store.PutString(w, "tiny", "another text")
	w.object("put again", info, err)
	target, err := store.GetInfo(w, "tiny")
	must(err)
	info, err = store.AddLink(w, "link", target)
	w.object("link", info, err)
	text, err = store.GetString(w, "link")
	w.result("get through the link", text, err)
}

func (w *world) objectList(step string, store jetstream.ObjectStore, options ...jetstream.ListObjectsOpt) {
	infos, err := store.List(w, options...)
	if err != nil {
		w.say(step, failure(err))
		return
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Name < infos[j].Name })
	for _, info := range infos {
		w.say(step, infoFields(info))
	}
}
