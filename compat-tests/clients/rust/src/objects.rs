//! The object store.

use std::collections::HashMap;
use std::fmt::Display;

use async_nats::HeaderMap;
use async_nats::jetstream::object_store::{
    Config, ObjectInfo, ObjectMetadata, ObjectStore, UpdateMetadata, Watch,
};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::world::{Result, World, bounded, headers_of};

const BIG: usize = 700_000;

fn fields(info: &ObjectInfo) -> Value {
    json!({
        "name": info.name, "description": info.description, "size": info.size, "chunks": info.chunks,
        "digest": info.digest, "deleted": info.deleted, "bucket": info.bucket, "metadata": info.metadata,
        "headers": headers_of(info.headers.as_ref()),
        "chunk_size": info.options.as_ref().and_then(|options| options.max_chunk_size),
        "link": info.options.as_ref().and_then(|options| options.link.clone()),
    })
}

fn object<E: Display>(w: &World, step: &str, result: std::result::Result<ObjectInfo, E>) {
    match result {
        Ok(info) => w.say(step, fields(&info)),
        Err(error) => w.say(step, json!({"error": error.to_string()})),
    }
}

async fn read(store: &ObjectStore, name: &str) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    store.get(name).await?.read_to_end(&mut content).await?;
    Ok(content)
}

async fn text(store: &ObjectStore, name: &str) -> Result<String> {
    Ok(String::from_utf8(read(store, name).await?)?)
}

async fn list(w: &World, step: &str, store: &ObjectStore) -> Result {
    let mut infos: Vec<ObjectInfo> = bounded(step, store.list().await?.try_collect()).await??;
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    for info in infos {
        w.say(step, fields(&info));
    }
    Ok(())
}

/// Keeps, reads, lists, watches, links and deletes objects.
pub async fn objects(w: &mut World) -> Result {
    let config = Config {
        bucket: "things".into(),
        description: Some("a store".into()),
        max_bytes: 1 << 26,
        ..Config::default()
    };
    let mut store = w.js.create_object_store(config).await?;
    w.raw("stream", "$JS.API.STREAM.INFO.OBJ_things", "").await?;
    let mut watch = store.watch().await?;
    put_and_get(w, &store).await?;
    rename_and_link(w, &store).await?;
    list(w, "list", &store).await?;
    w.result("delete", store.delete("tiny").await);
    w.result("delete missing", store.delete("missing").await);
    w.result("get deleted", text(&store, "tiny").await);
    list(w, "list after delete", &store).await?;
    // Three puts, the rename, the second put, the link and the delete.
    follow(w, &mut watch, 7).await?;
    // Not its bytes: the records hold times, whose text has no fixed length.
    let state = w.js.get_stream("OBJ_things").await?.cached_info().state.clone();
    w.say("stream at the end", json!({"messages": state.messages, "subjects": state.subjects_count}));
    w.result("seal", store.seal().await);
    object(w, "put to a sealed store", store.put("late", &mut "x".as_bytes()).await);
    w.result("delete store", w.js.delete_object_store("things").await);
    w.result("open a missing store", w.js.get_object_store("things").await.map(|_| ()));
    Ok(())
}

async fn put_and_get(w: &World, store: &ObjectStore) -> Result {
    let big: Vec<u8> = (0..BIG).map(|i| (i * 7 % 251) as u8).collect();
    let mut headers = HeaderMap::new();
    headers.append("X", "1");
    headers.append("X", "2");
    let meta = ObjectMetadata {
        name: "folder/big thing".into(),
        description: Some("big".into()),
        chunk_size: Some(64 * 1024),
        metadata: HashMap::from([("k".into(), "v".into())]),
        headers: Some(headers),
    };
    object(w, "put small", store.put("small", &mut "a small thing".as_bytes()).await);
    object(w, "put empty", store.put("empty", &mut "".as_bytes()).await);
    object(w, "put big", store.put(meta, &mut big.as_slice()).await);
    w.result("get big", read(store, "folder/big thing").await.map(|content| content == big));
    w.result("get small", text(store, "small").await);
    w.result("get missing", text(store, "missing").await);
    object(w, "info", store.info("folder/big thing").await);
    Ok(())
}

async fn rename_and_link(w: &World, store: &ObjectStore) -> Result {
    let renamed =
        UpdateMetadata { name: "tiny".into(), description: Some("renamed".into()), ..Default::default() };
    object(w, "rename", store.update_metadata("small", renamed).await);
    object(w, "put again", store.put("tiny", &mut "another text".as_bytes()).await);
    let target = store.info("tiny").await?;
    object(w, "link", store.add_link("link", &target).await);
    w.result("get through the link", text(store, "link").await);
    Ok(())
}

async fn follow(w: &World, watch: &mut Watch, count: usize) -> Result {
    for _ in 0..count {
        let info = bounded("the object watcher", watch.next()).await?.ok_or("the watch ended")??;
        w.say("watch", fields(&info));
    }
    Ok(())
}
