//! Claims in a directory, a file for each account, as nats-server keeps them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jetkv_go_compat::os_text;
use nkeys::KeyPairType;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::claims::{Token, is_key};
use crate::options::{Deletion, ResolverOptions};

/// End of the names of files.
const EXTENSION: &str = "jwt";
/// Added to the names of those that were deleted.
const DELETED: &str = ".deleted";

/// A digest of all claims.
pub(crate) type Sum = [u8; 32];

/// The files.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    deletion: Deletion,
    /// Most files.
    limit: usize,
    /// For a cache: time for which a file is kept that nobody asks for.
    ttl: Option<Duration>,
    known: Mutex<Known>,
}

/// What is known of the files.
#[derive(Debug, Default)]
struct Known {
    accounts: HashMap<String, Entry>,
    /// Moves with each use.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    sum: Sum,
    used: u64,
    used_at: Instant,
    /// When the claims end, in seconds since 1970; 0: never.
    expires_s: i64,
}

/// Why claims are not kept. The texts are nats-server's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// The name is that of no account.
    #[error("invalid public key")]
    Key,
    /// The claims are none.
    #[error("invalid JWT")]
    Token,
    /// There are as many as there may be.
    #[error("jwt store is full")]
    Full,
    /// They are those of another account.
    #[error("jwt subject nkey and provided nkey do not match")]
    Subject,
    /// The system refuses.
    #[error("{operation} {}: {}", .path.display(), os_text(.source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { operation, path, source }
}

impl Directory {
    /// Opens the directory of a resolver that has one, which is made if it is not there.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub(crate) fn open(options: &ResolverOptions) -> Result<Option<Self>, DirectoryError> {
        let (path, limit, deletion, ttl) = match options {
            ResolverOptions::Full { dir, limit, deletion, .. } => (dir, *limit, *deletion, None),
            ResolverOptions::Cache { dir, limit, ttl, .. } => (dir, *limit, Deletion::Gone, Some(*ttl)),
            ResolverOptions::Memory | ResolverOptions::Url(_) => return Ok(None),
        };
        std::fs::create_dir_all(path).map_err(io_error("mkdir", path))?;
        let path = std::path::absolute(path).map_err(io_error("open", path))?;
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let directory = Self { path, deletion, limit, ttl, known: Mutex::default() };
        directory.reload()?;
        Ok(Some(directory))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether only those accounts are kept that somebody asked for.
    pub(crate) fn is_cache(&self) -> bool {
        self.ttl.is_some()
    }

    /// What becomes of accounts that are deleted.
    pub(crate) fn deletion(&self) -> Deletion {
        self.deletion
    }

    /// Looks at the files anew; returns the accounts whose claims are others than before.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn reload(&self) -> Result<Vec<String>, DirectoryError> {
        let mut known = self.known.lock();
        let before = std::mem::take(&mut known.accounts);
        let mut changed = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io_error("open", &self.path))?.flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            let Ok(token) = std::fs::read_to_string(&path) else { continue };
            known.track(name, &token);
            let sum = Sum::from(Sha256::digest(&token));
            if before.get(name).is_none_or(|entry| entry.sum != sum) {
                changed.push(name.to_owned());
            }
        }
        Ok(changed)
    }

    fn file(&self, account: &str) -> Result<PathBuf, DirectoryError> {
        // A name that is a key is no path to somewhere else.
        if !is_key(account, KeyPairType::Account) {
            return Err(DirectoryError::Key);
        }
        Ok(self.path.join(format!("{account}.{EXTENSION}")))
    }

    /// The claims of an account.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub(crate) fn load(&self, account: &str) -> Result<String, DirectoryError> {
        let path = self.file(account)?;
        let mut known = self.known.lock();
        let token = std::fs::read_to_string(&path).map_err(io_error("open", &path))?;
        known.use_up(account);
        Ok(token)
    }

    /// Keeps claims; tells whether they are others than before.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub(crate) fn save(&self, account: &str, token: &str) -> Result<bool, DirectoryError> {
        let path = self.file(account)?;
        if token.is_empty() {
            return Err(DirectoryError::Token);
        }
        let mut known = self.known.lock();
        if let Some(entry) = known.accounts.get(account) {
            if entry.sum == Sum::from(Sha256::digest(token)) {
                known.use_up(account);
                return Ok(false);
            }
        } else if known.accounts.len() >= self.limit {
            self.make_room(&mut known)?;
        }
        write_whole(&path, token).map_err(io_error("open", &path))?;
        known.track(account, token);
        Ok(true)
    }

    /// Takes the account out that was not used for longest, where that may be.
    fn make_room(&self, known: &mut Known) -> Result<(), DirectoryError> {
        let oldest = known.accounts.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
        let Some(oldest) = oldest.filter(|_| self.is_cache()) else { return Err(DirectoryError::Full) };
        let path = self.file(&oldest)?;
        std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        known.accounts.remove(&oldest);
        Ok(())
    }

    /// Keeps claims unless there are newer ones of the account; tells whether they are others than before.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub(crate) fn save_if_newer(&self, account: &str, token: &str) -> Result<bool, DirectoryError> {
        let path = self.file(account)?;
        if let Ok(existing) = std::fs::read_to_string(&path) {
            let new = Token::account(token).map_err(|_| DirectoryError::Token)?;
            if let Ok(existing) = Token::account(&existing) {
                if existing.jti == new.jti || existing.iat > new.iat {
                    return Ok(false);
                }
                if new.sub != account {
                    return Err(DirectoryError::Subject);
                }
            }
        }
        self.save(account, token)
    }

    /// Deletes the claims of an account; those that are not there are gone already.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub(crate) fn delete(&self, account: &str) -> Result<bool, DirectoryError> {
        let path = self.file(account)?;
        let mut known = self.known.lock();
        let (operation, result) = match self.deletion {
            Deletion::Renamed => {
                let to = self.path.join(format!("{account}.{EXTENSION}{DELETED}"));
                ("rename", std::fs::rename(&path, to))
            }
            Deletion::Refused | Deletion::Gone => ("remove", std::fs::remove_file(&path)),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result.map_err(io_error(operation, &path))?,
        }
        known.accounts.remove(account);
        Ok(true)
    }

    /// Removes files whose time is over at `now_s`, in seconds since 1970.
    pub(crate) fn expire(&self, now_s: i64) {
        let mut known = self.known.lock();
        let is_over = |entry: &Entry| match self.ttl {
            Some(ttl) => entry.used_at.elapsed() >= ttl,
            None => entry.expires_s != 0 && entry.expires_s <= now_s,
        };
        let over = known.accounts.iter().filter(|(_, entry)| is_over(entry));
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for account in over {
            if self.file(&account).is_ok_and(|path| std::fs::remove_file(path).is_ok()) {
                known.accounts.remove(&account);
            }
        }
    }

    /// The accounts with their claims, by name, but for those that have ended at `now_s`.
    pub(crate) fn all(&self, now_s: i64) -> BTreeMap<String, String> {
        let names: Vec<String> = self.known.lock().accounts.keys().cloned().collect();
        let mut all = BTreeMap::new();
        for name in names {
            let Some(token) = self.file(&name).ok().and_then(|path| std::fs::read_to_string(path).ok())
            else {
                continue;
            };
            let expires_s = expiry_of(&token);
            if !token.is_empty() && (expires_s <= 0 || expires_s >= now_s) {
                all.insert(name, token);
            }
        }
        all
    }

    /// The digest of all claims.
    pub(crate) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for entry in self.known.lock().accounts.values() {
            sum.iter_mut().zip(entry.sum).for_each(|(byte, other)| *byte ^= other);
        }
        sum
    }
}

impl Known {
    fn track(&mut self, account: &str, token: &str) {
        self.uses += 1;
        let entry = Entry {
            sum: Sum::from(Sha256::digest(token)),
            used: self.uses,
            used_at: Instant::now(),
            expires_s: expiry_of(token),
        };
        self.accounts.insert(account.to_owned(), entry);
    }

    fn use_up(&mut self, account: &str) {
        self.uses += 1;
        if let Some(entry) = self.accounts.get_mut(account) {
            (entry.used, entry.used_at) = (self.uses, Instant::now());
        }
    }
}

/// When claims end, in seconds since 1970; 0: never, or they are none.
fn expiry_of(token: &str) -> i64 {
    Token::open(token).ok().and_then(|token| token.payload.get("exp").and_then(Value::as_i64)).unwrap_or(0)
}

/// Whoever reads the file finds the old claims or the new ones.
fn write_whole(path: &Path, token: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("tmp");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(token.as_bytes())?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;
    use serde_json::json;

    use super::*;
    use crate::claims::encode;

    fn open(path: &Path, limit: i64, deletion: Deletion) -> Directory {
        let (interval, timeout) = (Duration::from_secs(60), Duration::from_secs(1));
        let dir = path.join("jwts");
        Directory::open(&ResolverOptions::Full { dir, limit, interval, deletion, timeout }).unwrap().unwrap()
    }

    fn claims(account: &KeyPair, id: &str, issued_at_s: i64, ends_at_s: i64) -> String {
        let key = account.public_key();
        let claims = json!({
            "iss": key, "sub": key, "jti": id, "iat": issued_at_s, "exp": ends_at_s,
            "nats": {"type": "account", "version": 2},
        });
        encode(&claims, account).unwrap()
    }

    #[test]
    fn claims_are_kept_until_they_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 0, Deletion::Renamed);
        let (a, b) = (KeyPair::new_account(), KeyPair::new_account());
        let (key, token) = (a.public_key(), claims(&a, "1", 10, 0));
        assert_eq!((store.save(&key, &token).unwrap(), store.save(&key, &token).unwrap()), (true, false));
        assert_eq!(store.load(&key).unwrap(), token);
        // Older claims do not replace newer ones that come by another way.
        assert!(!store.save_if_newer(&key, &claims(&a, "0", 9, 0)).unwrap());
        assert!(store.save_if_newer(&key, &claims(&a, "2", 11, 0)).unwrap());
        assert!(matches!(store.save_if_newer(&key, &claims(&b, "3", 12, 0)), Err(DirectoryError::Subject)));
        let sum = store.sum();
        let again = open(dir.path(), 0, Deletion::Renamed);
        assert_eq!((again.sum(), again.all(0).len()), (sum, 1));
        assert!(store.delete(&key).unwrap() && !store.delete(&key).unwrap());
        assert!(store.load(&key).is_err() && store.sum() == Sum::default());
        assert!(dir.path().join("jwts").join(format!("{key}.jwt.deleted")).exists());
    }

    #[test]
    fn names_that_are_no_accounts_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 0, Deletion::Gone);
        let user = KeyPair::new_user().public_key();
        for name in ["", "..", "../x", "/etc/passwd", "A", user.as_str(), "a\0b"] {
            assert!(matches!(store.save(name, "x"), Err(DirectoryError::Key)), "{name}");
            assert!(store.load(name).is_err() && store.delete(name).is_err());
        }
    }

    #[test]
    fn there_are_no_more_than_may_be_and_what_ended_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1, Deletion::Gone);
        let (a, b) = (KeyPair::new_account(), KeyPair::new_account());
        store.save(&a.public_key(), &claims(&a, "1", 1, 100)).unwrap();
        assert!(matches!(store.save(&b.public_key(), &claims(&b, "1", 1, 0)), Err(DirectoryError::Full)));
        store.expire(99);
        assert_eq!(store.all(99).len(), 1);
        store.expire(100);
        assert!(store.all(99).is_empty());
        assert!(store.save(&b.public_key(), &claims(&b, "1", 1, 0)).unwrap());
    }

    #[test]
    fn a_cache_makes_room_for_who_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (ttl, timeout) = (Duration::from_secs(3600), Duration::from_secs(1));
        let options = ResolverOptions::Cache { dir: dir.path().join("jwts"), limit: 2, ttl, timeout };
        let store = Directory::open(&options).unwrap().unwrap();
        let accounts = [KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account()];
        for account in &accounts[..2] {
            store.save(&account.public_key(), &claims(account, "1", 1, 0)).unwrap();
        }
        store.load(&accounts[0].public_key()).unwrap();
        store.save(&accounts[2].public_key(), &claims(&accounts[2], "1", 1, 0)).unwrap();
        assert!(
            store.load(&accounts[0].public_key()).is_ok() && store.load(&accounts[1].public_key()).is_err()
        );
    }
}
