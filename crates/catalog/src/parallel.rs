//! Reads through all segments with two threads: unpacking the rows takes longer than fetching them.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;

use crate::segment::Segment;
use crate::{Error, Result, segments};

/// Segments (of some ten KiB each) that are in memory at a time.
const WAITING: usize = 16;

/// As [`segments::each`], with the work shared by two threads: `map` runs for every segment on one of them, in no order;
/// `take` gets what it gave, on this thread and in path order. The segments are those of one moment.
///
/// # Errors
/// Those of `map` and `take`, and damage: a checksum that does not match, a segment that is missing.
pub(crate) fn each_mapped<T: Send>(
    conn: &Connection,
    map: impl Fn(&mut Segment) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut statement =
        conn.prepare_cached("SELECT id, first, data FROM segment ORDER BY first")?;
    let mut rows = statement.query([])?;
    std::thread::scope(|scope| {
        let (give, work) = sync_channel::<Work<T>>(WAITING / 2);
        let map = &map;
        // When no thread can be had, the channel is closed, and this thread does it all.
        let _helper = std::thread::Builder::new().spawn_scoped(scope, move || {
            let mut segment = Segment::default();
            while let Ok(work) = work.recv() {
                work.run(&mut segment, map);
            }
        });
        let mut segment = Segment::default();
        let mut order = Order::default();
        let mut waiting = VecDeque::with_capacity(WAITING);
        while let Some(row) = rows.next()? {
            let (answer, answered) = sync_channel(1);
            let work = Work {
                id: row.get(0)?,
                first: row.get_ref(1)?.as_blob()?.to_vec(),
                data: row.get_ref(2)?.as_blob()?.to_vec(),
                answer,
            };
            match give.try_send(work) {
                Ok(()) => {}
                Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => {
                    work.run(&mut segment, map);
                }
            }
            waiting.push_back(answered);
            if waiting.len() == WAITING {
                order.next(&mut waiting, &mut take)?;
            }
        }
        while !waiting.is_empty() {
            order.next(&mut waiting, &mut take)?;
        }
        order.finish()
    })
}

/// A segment as it is stored, and where to send what comes of it.
struct Work<T> {
    id: i64,
    first: Vec<u8>,
    data: Vec<u8>,
    answer: SyncSender<Result<Mapped<T>>>,
}

struct Mapped<T> {
    first: Vec<u8>,
    upper: Option<Vec<u8>>,
    value: T,
}

impl<T> Work<T> {
    fn run(self, segment: &mut Segment, map: impl Fn(&mut Segment) -> Result<T>) {
        let mapped = segment.load(self.id, &self.first, &self.data);
        let mapped = mapped.and_then(|()| map(segment)).map(|value| Mapped {
            value,
            upper: segment.upper.take(),
            first: self.first,
        });
        // Nobody waits any more after an error.
        let _ = self.answer.send(mapped);
    }
}

/// Sees that each segment begins where the one before ends.
#[derive(Default)]
struct Order {
    end: End,
}

#[derive(Default)]
enum End {
    /// No segment was seen.
    #[default]
    None,
    At(Vec<u8>),
    /// The last segment was seen.
    Last,
}

impl Order {
    fn next<T>(
        &mut self,
        waiting: &mut VecDeque<Receiver<Result<Mapped<T>>>>,
        take: &mut impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let Some(answered) = waiting.pop_front() else {
            return Ok(());
        };
        let Mapped {
            first,
            upper,
            value,
        } = answered
            .recv()
            .map_err(|_| Error::Misuse("the thread that unpacks segments ended"))??;
        let follows = match &self.end {
            End::None => first.is_empty(),
            End::At(end) => *end == first,
            End::Last => false,
        };
        if !follows {
            return Err(segments::missing());
        }
        self.end = match upper {
            Some(upper) => End::At(upper),
            None => End::Last,
        };
        take(value)
    }

    fn finish(self) -> Result<()> {
        match self.end {
            End::None | End::Last => Ok(()),
            End::At(_) => Err(segments::missing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{OwnedRow, pack};

    /// A table of 40 segments with some rows each.
    fn table() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE segment(id INTEGER PRIMARY KEY, first BLOB, data BLOB)")
            .unwrap();
        let bound = |number: usize| match number {
            0 => Vec::new(),
            _ => format!("/{number:03}").into_bytes(),
        };
        for number in 0..40 {
            let rows: Vec<OwnedRow> = (0..5)
                .map(|row| OwnedRow {
                    path: format!("/{number:03}/{row}").into_bytes(),
                    runs: vec![(1, 2)],
                    seen: None,
                    fields: vec![7; 100],
                    confirmed: false,
                })
                .collect();
            let upper = (number < 39).then(|| bound(number + 1));
            for part in pack(&bound(number), upper.as_deref(), &rows) {
                conn.execute(
                    "INSERT INTO segment(first, data) VALUES(?1, ?2)",
                    (&part.first, &part.data),
                )
                .unwrap();
            }
        }
        conn
    }

    fn paths(segment: &mut Segment) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        while let Some(row) = segment.next()? {
            found.push(row.path.to_vec());
        }
        Ok(found)
    }

    fn all(conn: &Connection) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        each_mapped(conn, paths, |some| {
            found.extend(some);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn all_rows_come_in_path_order() {
        let found = all(&table()).unwrap();
        assert_eq!(found.len(), 200);
        assert!(found.is_sorted());
        let conn = table();
        conn.execute("DELETE FROM segment", []).unwrap();
        assert!(all(&conn).unwrap().is_empty());
    }

    #[test]
    fn a_missing_or_damaged_segment_is_seen() {
        for id in [1, 2, 17, 39, 40] {
            let conn = table();
            conn.execute("DELETE FROM segment WHERE id = ?1", [id])
                .unwrap();
            assert!(all(&conn).unwrap_err().is_damage(), "segment {id}");
            let conn = table();
            conn.execute(
                "UPDATE segment SET data = substr(data, 1, length(data) - 1) || x'00' WHERE id = ?1",
                [id],
            )
            .unwrap();
            assert!(all(&conn).unwrap_err().is_damage(), "segment {id}");
        }
    }

    #[test]
    fn an_error_of_either_side_ends_it() {
        let conn = table();
        let failed = each_mapped(
            &conn,
            |segment| match segment.id {
                20 => Err(Error::Misuse("map")),
                _ => Ok(()),
            },
            Ok,
        );
        assert!(matches!(failed, Err(Error::Misuse("map"))));
        let failed = each_mapped(
            &conn,
            |segment| Ok(segment.id),
            |id| match id {
                3 => Err(Error::Misuse("take")),
                _ => Ok(()),
            },
        );
        assert!(matches!(failed, Err(Error::Misuse("take"))));
    }
}
