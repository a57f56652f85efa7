//! The statements. Nothing of a caller's ever becomes a part of one but the name of the table, which was looked at.

use super::NAME;
use super::worker::Failure;
use crate::store::{Entry, Glob, Key, SetOptions, StoreError, StoreErrorKind, Timestamp, Ttl, words};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

const VERSION: i64 = 1;
/// How many ended entries one write frees at most.
const SWEEP: u32 = 8;
/// How far it is emptied once it is full, in tenths.
const LOW_WATER_TENTHS: u64 = 8;

pub(super) fn is_table_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= 63
        && !name.to_ascii_lowercase().starts_with("sqlite_")
}

/// What a write leaves behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) pages: u64,
    pub(super) page_size: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
}

/// The statements for one table.
#[derive(Debug)]
pub(super) struct Sql {
    table: String,
    max_entries: u64,
    get: String,
    exists: String,
    set: String,
    set_if_absent: String,
    delete: String,
    untag: String,
    tag: String,
    tagged: String,
    clear: String,
    count_live: String,
    keys: String,
    purge: String,
    books: String,
    evict: String,
}

/// `?2` is now; see `entry::is_over`, of which this is the opposite.
const LIVE: &str = "(expires IS NULL OR (expires > ?2 AND created <= ?2 + 60000))";

impl Sql {
    pub(super) fn new(table: &str, max_entries: u64) -> Self {
        let t = table;
        let columns = "key, value, created, expires, about";
        let replace = "value = excluded.value, created = excluded.created, expires = excluded.expires, about = excluded.about";
        let insert = format!("INSERT INTO \"{t}\" ({columns}) VALUES (?1, ?3, ?2, ?4, ?5) ON CONFLICT (key) DO UPDATE SET {replace}");
        // In the last one, a bare column is that of the row already there.
        let live_there = LIVE.replace("expires", &format!("\"{t}\".expires")).replace("created", &format!("\"{t}\".created"));
        Self {
            get: format!("SELECT value, created, expires, about FROM \"{t}\" WHERE key = ?1 AND {LIVE}"),
            exists: format!("SELECT 1 FROM \"{t}\" WHERE key = ?1 AND {LIVE}"),
            set_if_absent: format!("{insert} WHERE NOT {live_there}"),
            set: insert,
            delete: format!("DELETE FROM \"{t}\" WHERE key = ?1 RETURNING {LIVE}"),
            untag: format!("DELETE FROM \"{t}_tags\" WHERE key = ?1"),
            tag: format!("INSERT OR IGNORE INTO \"{t}_tags\" (key, tag) VALUES (?1, ?2)"),
            tagged: format!("DELETE FROM \"{t}\" WHERE key IN (SELECT key FROM \"{t}_tags\" WHERE tag = ?1) RETURNING {LIVE}"),
            clear: format!("DELETE FROM \"{t}\""),
            count_live: format!("SELECT count(*) FROM \"{t}\" WHERE ?1 AND {LIVE}"),
            keys: format!("SELECT key FROM \"{t}\" WHERE key >= ?1 AND key > ?3 AND {LIVE} ORDER BY key LIMIT ?4"),
            purge: format!("DELETE FROM \"{t}\" WHERE rowid IN (SELECT rowid FROM \"{t}\" WHERE expires <= ?1 ORDER BY expires LIMIT ?2)"),
            books: format!("SELECT entries, bytes, version, page_count, page_size FROM \"{t}_books\", pragma_page_count, pragma_page_size"),
            evict: format!("DELETE FROM \"{t}\" WHERE rowid IN (SELECT rowid FROM \"{t}\" ORDER BY created, rowid LIMIT ?1)"),
            table: table.to_owned(),
            max_entries,
        }
    }

    /// Makes what is not there. Plain rowid tables: without rowid, writes of small values took 1.2 to 1.6 times as long.
    pub(super) fn schema(&self) -> String {
        let size = "length(CAST(key AS BLOB)) + length(value)";
        let (old, new) = (
            size.replace("(key", "(old.key").replace("(value", "(old.value"),
            size.replace("(key", "(new.key").replace("(value", "(new.value"),
        );
        format!(
            r#"BEGIN IMMEDIATE;
            CREATE TABLE IF NOT EXISTS "{t}" (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, expires INTEGER, about BLOB) STRICT;
            CREATE INDEX IF NOT EXISTS "{t}_expires" ON "{t}" (expires) WHERE expires IS NOT NULL;
            CREATE TABLE IF NOT EXISTS "{t}_tags" (key TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (key, tag)) STRICT, WITHOUT ROWID;
            CREATE INDEX IF NOT EXISTS "{t}_tag" ON "{t}_tags" (tag);
            CREATE TABLE IF NOT EXISTS "{t}_books" (one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL, bytes INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;
            INSERT OR IGNORE INTO "{t}_books" SELECT 1, count(*), coalesce(sum({size}), 0), {VERSION} FROM "{t}";
            CREATE TRIGGER IF NOT EXISTS "{t}_added" AFTER INSERT ON "{t}" BEGIN
                UPDATE "{t}_books" SET entries = entries + 1, bytes = bytes + {new};
            END;
            CREATE TRIGGER IF NOT EXISTS "{t}_changed" AFTER UPDATE OF value ON "{t}" BEGIN
                UPDATE "{t}_books" SET bytes = bytes + ({new}) - ({old});
            END;
            CREATE TRIGGER IF NOT EXISTS "{t}_removed" AFTER DELETE ON "{t}" BEGIN
                UPDATE "{t}_books" SET entries = entries - 1, bytes = bytes - ({old});
                DELETE FROM "{t}_tags" WHERE key = old.key;
            END;
            COMMIT;"#,
            t = self.table
        )
    }

    pub(super) fn check_version(&self, connection: &Connection) -> Result<(), Failure> {
        let version: i64 = connection.prepare_cached(&self.books)?.query_row([], |row| row.get(2))?;
        if version > VERSION {
            let detail = format!("the table is of version {version}, and this is {VERSION}");
            return Err(StoreError::new(StoreErrorKind::NewerVersion).in_store(NAME).with_detail(detail).into());
        }
        Ok(())
    }

    pub(super) fn get(&self, connection: &Connection, key: &Key, now: u64) -> Result<Option<Entry>, Failure> {
        let read = |row: &Row<'_>| -> rusqlite::Result<Entry> {
            let value: Vec<u8> = row.get(0)?;
            let stamp = |millis: i64| Timestamp::from_millis(millis.unsigned_abs());
            let (expires, about): (Option<i64>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
            let metadata = about.and_then(|about| words::decode(&about)).and_then(|(_, metadata)| metadata);
            let entry = Entry::new(Bytes::from(value), Ttl::Never, Timestamp::from_millis(now));
            Ok(entry.with_created_at(stamp(row.get(1)?)).with_expires_at(expires.map(stamp)).with_metadata(metadata))
        };
        Ok(connection.prepare_cached(&self.get)?.query_row(params![key.as_str(), millis(now)], read).optional()?)
    }

    pub(super) fn exists(&self, connection: &Connection, key: &Key, now: u64) -> Result<bool, Failure> {
        Ok(connection.prepare_cached(&self.exists)?.exists(params![key.as_str(), millis(now)])?)
    }

    pub(super) fn set(&self, connection: &Connection, key: &Key, value: &[u8], options: &SetOptions, now: u64) -> Result<bool, Failure> {
        if options.ttl.is_zero() {
            if !options.if_absent {
                self.delete(connection, key, now)?;
            }
            return Ok(false);
        }
        let ends = options.ttl.expires_at(Timestamp::from_millis(now)).map(|end| millis(end.as_millis()));
        let about = options.metadata.as_ref().map(|metadata| words::encode(&[], Some(metadata)));
        let set = if options.if_absent { &self.set_if_absent } else { &self.set };
        let stored = connection.prepare_cached(set)?.execute(params![key.as_str(), millis(now), value, ends, about])? == 1;
        if stored {
            connection.prepare_cached(&self.untag)?.execute([key.as_str()])?;
            for tag in &options.tags {
                connection.prepare_cached(&self.tag)?.execute([key.as_str(), tag])?;
            }
        }
        Ok(stored)
    }

    /// True if it was live.
    pub(super) fn delete(&self, connection: &Connection, key: &Key, now: u64) -> Result<bool, Failure> {
        let live = connection.prepare_cached(&self.delete)?.query_row(params![key.as_str(), millis(now)], |row| row.get(0)).optional()?;
        Ok(live.unwrap_or(false))
    }

    pub(super) fn delete_tagged(&self, connection: &Connection, tag: &str, now: u64) -> Result<u64, Failure> {
        let mut statement = connection.prepare_cached(&self.tagged)?;
        let live = statement.query_map(params![tag, millis(now)], |row| row.get::<_, bool>(0))?;
        live.map(|live| Ok(u64::from(live?))).sum()
    }

    pub(super) fn clear(&self, connection: &Connection, now: u64) -> Result<u64, Failure> {
        let live: i64 = connection.prepare_cached(&self.count_live)?.query_row(params![true, millis(now)], |row| row.get(0))?;
        connection.prepare_cached(&self.clear)?.execute([])?;
        Ok(live.unsigned_abs())
    }

    /// Those that begin as the pattern does, and then as it says.
    pub(super) fn keys(&self, connection: &Connection, glob: &Glob, now: u64) -> Result<Vec<Key>, Failure> {
        Ok(self.some_keys(connection, glob, "", None, now)?.0)
    }

    /// Those among the next `most` rows after a key, and the last of these rows if more may come. No key is as short as the empty text.
    pub(super) fn some_keys(
        &self,
        connection: &Connection,
        glob: &Glob,
        after: &str,
        most: Option<u32>,
        now: u64,
    ) -> Result<(Vec<Key>, Option<String>), Failure> {
        let prefix = glob.literal_prefix();
        let mut statement = connection.prepare_cached(&self.keys)?;
        let mut rows = statement.query(params![prefix, millis(now), after, most.map_or(-1, i64::from)])?;
        let (mut keys, mut seen, mut last) = (Vec::new(), 0, None);
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().unwrap_or_default();
            if !text.starts_with(prefix) {
                return Ok((keys, None)); // they are in order
            }
            seen += 1;
            if Some(seen) == most {
                last = Some(text.to_owned());
            }
            // A row that is not ours has no key of ours.
            if let Ok(key) = Key::parse(text)
                && glob.matches(&key)
            {
                keys.push(key);
            }
        }
        Ok((keys, last))
    }

    pub(super) fn purge(&self, connection: &Connection, now: u64, most: u32) -> Result<u64, Failure> {
        Ok(connection.prepare_cached(&self.purge)?.execute(params![millis(now), most])? as u64)
    }

    /// After a write: frees a little of what is over, makes room if there is too much, and reads the books.
    pub(super) fn tidy(&self, connection: &Connection, now: u64) -> Result<Gauges, Failure> {
        let mut gauges = Gauges { expired: self.purge(connection, now, SWEEP)?, ..Gauges::default() };
        self.read_books(connection, &mut gauges)?;
        if gauges.entries > self.max_entries {
            gauges.expired += self.purge(connection, now, u32::MAX)?;
            self.read_books(connection, &mut gauges)?;
        }
        if gauges.entries > self.max_entries {
            let low = self.max_entries / 10 * LOW_WATER_TENTHS + self.max_entries % 10 * LOW_WATER_TENTHS / 10;
            // The newest is what was just stored.
            let too_many = gauges.entries - low.max(1);
            gauges.evicted = connection.prepare_cached(&self.evict)?.execute([millis(too_many)])? as u64;
            self.read_books(connection, &mut gauges)?;
        }
        Ok(gauges)
    }

    fn read_books(&self, connection: &Connection, gauges: &mut Gauges) -> Result<(), Failure> {
        let number = |row: &Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        let read = |row: &Row<'_>| Ok((number(row, 0)?, number(row, 1)?, number(row, 3)?, number(row, 4)?));
        (gauges.entries, gauges.bytes, gauges.pages, gauges.page_size) = connection.prepare_cached(&self.books)?.query_row([], read)?;
        Ok(())
    }
}

/// SQLite has no unsigned numbers.
fn millis(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
