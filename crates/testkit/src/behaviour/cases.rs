//! Folders, names and errors.

use futures_util::TryStreamExt;
use larder_destination::{Body, Clock, Destination, ErrorKind, Existing, Lock, SystemClock};

use super::*;

pub(super) const CASES: &[Case] = &[
    case!("lists an empty folder as empty", empty_folder),
    case!("has a name and shows no secret", tells_itself),
    case!("tells a missing folder from missing files", missing_folder),
    case!("creates a folder", creates_folder),
    case!("creates an existing folder without harm", creates_twice),
    case!("lists names, sizes and times", lists_facts),
    case!("shows a folder as one and not what is in it", lists_folders),
    case!("keeps unusual names, or refuses them", unusual_names),
    case!("keeps the names of volumes", volume_names),
    case!("refuses names that lead out of the folder", refused_names),
    case!("deletes", deletes),
    case!(
        "does not lose other files when deleting what is not there",
        deletes_missing
    ),
    case!("says not found for a missing file", gets_missing),
    case!("renames", renames),
    case!("tells its space", tells_space),
    case!("removes leftovers and nothing else", removes_leftovers),
    case!("knows one folder by one place", one_place),
    case!("keeps a locked file", keeps_locked),
    case!("never makes a lock shorter", keeps_longer_lock),
    case!("lets a file go whose lock is over", lock_ends),
];

async fn empty_folder(bench: Bench) -> Outcome {
    expect_names(bench.empty().await?.as_ref(), &[]).await
}

async fn tells_itself(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    larder_destination::test(destination.as_ref()).await?;
    expect_names(destination.as_ref(), &[]).await?;
    let about = destination.about();
    check!(
        !about.display.is_empty() && !about.scheme.is_empty(),
        "it has no name"
    );
    for secret in bench.folders.secrets() {
        check!(
            !format!("{about:?}").contains(&secret),
            "its name shows a secret"
        );
    }
    Ok(())
}

async fn missing_folder(bench: Bench) -> Outcome {
    let missing = &[ErrorKind::FolderMissing];
    let destination = bench.missing().await?;
    expect_error("list", names(destination.as_ref()).await, missing)?;
    expect_error("get", destination.get("a").await, missing)?;
    expect_error("put", put(destination.as_ref(), "a", b"a").await, missing)?;
    let body = Body::from_bytes("a");
    let refusing = destination.put("a", body, Existing::Refuse).await;
    expect_error("put of a new name", refusing, missing)?;
    expect_error("delete", destination.delete("a").await, missing)?;
    let tested = larder_destination::test(destination.as_ref()).await;
    expect_error("test", tested, missing)?;
    let extra = destination.extra();
    if let Some(verb) = extra.space {
        expect_error("space", verb.space().await, missing)?;
    }
    if let Some(verb) = extra.rename {
        expect_error("rename", verb.rename("a", "b").await, missing)?;
    }
    if let Some(verb) = extra.lock {
        expect_error("lock", verb.lock("a", later(LOCKED_SECONDS)).await, missing)?;
        expect_error("locked-until", verb.locked_until("a").await, missing)?;
    }
    Ok(())
}

async fn creates_folder(bench: Bench) -> Outcome {
    let destination = bench.missing().await?;
    destination.create_folder().await?;
    expect_names(destination.as_ref(), &[]).await?;
    put(destination.as_ref(), "a", b"a").await?;
    expect_content(destination.as_ref(), "a", b"a").await
}

async fn creates_twice(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "a", b"a").await?;
    destination.create_folder().await?;
    destination.create_folder().await?;
    expect_names(destination.as_ref(), &["a"]).await
}

async fn lists_facts(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let sizes = [("a", 0_usize), ("b", 1), ("c", 100_000)];
    for (name, size) in sizes {
        put(destination.as_ref(), name, &vec![b'x'; size]).await?;
    }
    let files = listing(destination.as_ref(), |files| files.len() == sizes.len()).await?;
    check!(
        files.len() == sizes.len(),
        "the listing shows {} files instead of {}",
        files.len(),
        sizes.len()
    );
    let times: Vec<i64> = files.iter().filter_map(|file| file.modified).collect();
    for (file, (name, size)) in files.iter().zip(sizes) {
        check!(
            file.name == name,
            "the listing shows {} instead of {name}",
            file.name
        );
        check!(
            file.size.is_none_or(|found| found == size as u64),
            "{name} has size {:?}, not {size}",
            file.size
        );
        check!(
            !file.is_folder && !file.is_archived,
            "{name} is shown as a folder or archived"
        );
    }
    // Seconds since 1970, not milliseconds, not ticks, not the year 1.
    let plausible = 1_500_000_000..5_000_000_000;
    check!(
        times.iter().all(|time| plausible.contains(time)),
        "the times {times:?} are not seconds since 1970"
    );
    Ok(())
}

async fn lists_folders(bench: Bench) -> Outcome {
    let (outer, inner) = bench.nested("inner").await?;
    let (_, beside) = bench.nested("inner").await?;
    put(outer.as_ref(), "a", b"a").await?;
    put(outer.as_ref(), "inner-b", b"b").await?;
    inner.create_folder().await?;
    put(inner.as_ref(), "c", b"c").await?;
    put(inner.as_ref(), "a", b"another").await?;
    let files = listing(outer.as_ref(), |files| files.len() == 3).await?;
    for file in &files {
        let is_folder = file.name == "inner";
        check!(
            file.is_folder == is_folder,
            "{} is_folder={}",
            file.name,
            file.is_folder
        );
    }
    let found: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    // Where folders are nothing but beginnings of names, an empty one need not show.
    check!(
        found == ["a", "inner", "inner-b"],
        "the listing shows {found:?}"
    );
    expect_names(inner.as_ref(), &["a", "c"]).await?;
    expect_content(outer.as_ref(), "a", b"a").await?;
    inner.delete("a").await?;
    expect_content(outer.as_ref(), "a", b"a").await?;
    // A folder of that name elsewhere is another one.
    beside.create_folder().await?;
    expect_names(beside.as_ref(), &[]).await
}

const UNUSUAL: &[&str] = &[
    "two words",
    " edge ",
    "a+b",
    "100%",
    "100%25",
    "%2F",
    "a#b",
    "a&b=c",
    "~tilde~",
    "wow!",
    "(round)",
    "it's",
    "semi;colon,comma",
    "a.b.zip.aes",
    "UPPER lower",
    "question?mark",
    "star*",
    "co:lon",
    "<angle>",
    "\"quoted\"",
    "pi|pe",
    ".hidden",
    "dot at the end.",
    "\u{dc}bersicht \u{65e5}\u{672c} \u{1f600}",
];

/// Names that the service stores by its own rules come back as they went; others are refused and leave nothing.
async fn unusual_names(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let rules = destination.about().limits.names;
    let (mut stored, refused): (Vec<_>, Vec<_>) =
        UNUSUAL.iter().partition(|name| rules.allow(name));
    if rules.case_sensitive {
        stored.push("upper LOWER");
        stored.push("UPPER LOWER");
    }
    for name in &stored {
        let put = put(destination.as_ref(), name, name.as_bytes()).await;
        put.map_err(|error| format!("{name:?}: {error}"))?;
    }
    for name in refused {
        let put = put(destination.as_ref(), name, b"x").await;
        expect_error(&format!("put {name:?}"), put, &[ErrorKind::Config])?;
    }
    expect_names(destination.as_ref(), &stored).await?;
    for name in &stored {
        expect_content(destination.as_ref(), name, name.as_bytes()).await?;
    }
    for name in &stored {
        destination.delete(name).await?;
    }
    expect_names(destination.as_ref(), &[]).await
}

/// What the engine writes has to be possible everywhere: its prefix, letters, digits, `-` and `.`.
async fn volume_names(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let long = format!(
        "{}-b0123456789abcdef0123456789abcdef.dblock.zip.aes",
        "p".repeat(60)
    );
    let names = [
        "duplicati-20261126T120000Z.dlist.zip.aes",
        "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip",
        "duplicati-i0123456789abcdef0123456789abcdef.dindex.tzstd.gpg",
        "duplicati-verification.json",
        long.as_str(),
    ];
    for name in names {
        check!(
            destination.about().limits.names.allow(name),
            "its rules refuse {name}"
        );
        let body = Body::from_bytes(name.as_bytes().to_vec());
        destination.put(name, body, Existing::Refuse).await?;
    }
    expect_names(destination.as_ref(), &names).await?;
    for name in names {
        expect_content(destination.as_ref(), name, name.as_bytes()).await?;
    }
    Ok(())
}

async fn refused_names(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "a", b"a").await?;
    for name in [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "a/../../b",
        "/a",
        "/etc/larder-test",
        "a\0b",
    ] {
        let what = |verb| format!("{verb} {name:?}");
        expect_error(
            &what("put"),
            put(destination.as_ref(), name, b"b").await,
            &[ErrorKind::Config],
        )?;
        expect_error(
            &what("get"),
            destination.get(name).await,
            &[ErrorKind::Config],
        )?;
        expect_error(
            &what("delete"),
            destination.delete(name).await,
            &[ErrorKind::Config],
        )?;
        if let Some(verb) = destination.extra().rename {
            expect_error(
                &what("rename to"),
                verb.rename("a", name).await,
                &[ErrorKind::Config],
            )?;
            expect_error(
                &what("rename from"),
                verb.rename(name, "c").await,
                &[ErrorKind::Config],
            )?;
        }
    }
    expect_names(destination.as_ref(), &["a"]).await
}

async fn deletes(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for name in ["a", "b"] {
        put(destination.as_ref(), name, b"x").await?;
    }
    destination.delete("a").await?;
    expect_names(destination.as_ref(), &["b"]).await?;
    expect_error("get", destination.get("a").await, &[ErrorKind::NotFound])?;
    put(destination.as_ref(), "a", b"again").await?;
    expect_content(destination.as_ref(), "a", b"again").await
}

async fn deletes_missing(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "abc", b"x").await?;
    for name in ["missing", "ab", "abcd"] {
        // Some services cannot tell; only a wrong kind of error is wrong.
        if let Err(error) = destination.delete(name).await {
            check!(
                *error.kind() == ErrorKind::NotFound,
                "delete failed with {:?}: {error}",
                error.kind()
            );
        }
    }
    expect_names(destination.as_ref(), &["abc"]).await
}

async fn gets_missing(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "abc", b"x").await?;
    for name in ["missing", "ab", "abcd"] {
        let got = match destination.get(name).await {
            // Some services notice only when the content is asked for.
            Ok(mut download) => download.stream.try_next().await.map(drop),
            Err(error) => Err(error),
        };
        expect_error(&format!("get {name}"), got, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

async fn renames(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "a", b"first").await?;
    put(destination.as_ref(), "b", b"second").await?;
    let Some(verb) = destination.extra().rename else {
        return Err(Stop::LeftOut("it cannot rename"));
    };
    verb.rename("a", "new name").await?;
    expect_content(destination.as_ref(), "new name", b"first").await?;
    expect_names(destination.as_ref(), &["b", "new name"]).await?;
    verb.rename("b", "new name").await?;
    expect_content(destination.as_ref(), "new name", b"second").await?;
    expect_error(
        "rename",
        verb.rename("missing", "c").await,
        &[ErrorKind::NotFound],
    )?;
    expect_names(destination.as_ref(), &["new name"]).await
}

async fn tells_space(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let Some(verb) = destination.extra().space else {
        return Err(Stop::LeftOut("it does not know its space"));
    };
    let space = match verb.space().await {
        // Whether a server tells shows only when it is asked.
        Err(error) if *error.kind() == ErrorKind::Unsupported => {
            return Err(Stop::LeftOut("this server does not tell its space"));
        }
        other => other?,
    };
    check!(
        space.total.is_some() || space.free.is_some(),
        "it knows neither total nor free space"
    );
    if let (Some(total), Some(free)) = (space.total, space.free) {
        check!(
            free <= total && total > 0,
            "{free} of {total} bytes are free"
        );
    }
    Ok(())
}

async fn removes_leftovers(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let Some(verb) = destination.extra().leftovers else {
        return Err(Stop::LeftOut("its broken uploads leave nothing"));
    };
    put(destination.as_ref(), "a", b"a").await?;
    verb.remove_leftovers(&|_| true).await?;
    verb.remove_leftovers(&|_| false).await?;
    expect_names(destination.as_ref(), &["a"]).await?;
    expect_content(destination.as_ref(), "a", b"a").await
}

/// The verb for locks, and a locked file `a` beside an unlocked one; the reason when this folder has no locks.
async fn with_lock(destination: &dyn Destination, until: i64) -> Result<&dyn Lock, Stop> {
    let Some(verb) = destination.extra().lock else {
        return Err(Stop::LeftOut("it cannot lock files"));
    };
    put(destination, "a", b"locked").await?;
    put(destination, "b", b"other").await?;
    match verb.lock("a", until).await {
        // Whether a bucket has locks shows only when it is asked.
        Err(error) if *error.kind() == ErrorKind::Unsupported => {
            Err(Stop::LeftOut("this folder has no locks"))
        }
        other => Ok(other.map(|()| verb)?),
    }
}

async fn keeps_locked(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let until = later(LOCKED_SECONDS);
    let verb = with_lock(destination.as_ref(), until).await?;
    let locked = &[ErrorKind::Locked];
    expect_error("delete", destination.delete("a").await, locked)?;
    let replaced = put(destination.as_ref(), "a", b"another").await;
    expect_error("put", replaced, locked)?;
    if let Some(rename) = destination.extra().rename {
        expect_error("rename of it", rename.rename("a", "c").await, locked)?;
        expect_error("rename over it", rename.rename("b", "a").await, locked)?;
    }
    expect_names(destination.as_ref(), &["a", "b"]).await?;
    expect_content(destination.as_ref(), "a", b"locked").await?;
    expect_content(destination.as_ref(), "b", b"other").await?;
    let found = verb.locked_until("a").await?;
    check!(
        found.is_some_and(|found| found >= until),
        "it is locked until {found:?} instead of {until}"
    );
    let found = verb.locked_until("b").await?;
    check!(found.is_none(), "what was never locked is until {found:?}");
    let missing = &[ErrorKind::NotFound];
    expect_error("lock", verb.lock("c", until).await, missing)?;
    expect_error("locked-until", verb.locked_until("c").await, missing)?;
    destination.delete("b").await?;
    // So that nothing is left behind.
    bench.folders.pass(until).await;
    Ok(())
}

async fn keeps_longer_lock(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let (short, long) = (later(LOCKED_SECONDS), later(2 * LOCKED_SECONDS));
    let verb = with_lock(destination.as_ref(), long).await?;
    for until in [short, long] {
        verb.lock("a", until).await?;
        let found = verb.locked_until("a").await?;
        check!(
            found.is_some_and(|found| found >= long),
            "it is locked until {found:?} instead of {long}"
        );
    }
    bench.folders.pass(long).await;
    Ok(())
}

async fn lock_ends(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let until = later(LOCKED_SECONDS);
    with_lock(destination.as_ref(), until).await?;
    expect_error(
        "delete",
        destination.delete("a").await,
        &[ErrorKind::Locked],
    )?;
    bench.folders.pass(until).await;
    put(destination.as_ref(), "a", b"another").await?;
    expect_content(destination.as_ref(), "a", b"another").await?;
    destination.delete("a").await?;
    expect_names(destination.as_ref(), &["b"]).await
}

/// So many seconds from now, in seconds since 1970.
fn later(seconds: i64) -> i64 {
    SystemClock.seconds() + seconds
}

/// How long files are locked: longer than the calls of a case take, and no longer than one waits for.
const LOCKED_SECONDS: i64 = 6;

/// Local state is kept by the place: two spellings must not have two, and two folders must not share one.
async fn one_place(bench: Bench) -> Outcome {
    let places = bench.folders.places().map_err(Stop::LeftOut)?;
    let Some((_, place)) = places.same.first() else {
        return Err(Stop::LeftOut("its folder has one spelling only"));
    };
    for (spelling, found) in &places.same {
        check!(found == place, "{spelling} is {found} and not {place}");
    }
    let mut all: Vec<_> = places.others.iter().map(|(_, place)| place).collect();
    all.push(place);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    check!(
        all.len() == count,
        "{count} folders have {} places",
        all.len()
    );
    for secret in bench.folders.secrets() {
        check!(
            !place.to_string().contains(&secret),
            "its place shows a secret"
        );
    }
    Ok(())
}

/// A body whose file has another length than announced.
pub(super) fn misannounced(file: &tempfile::NamedTempFile, len: u64) -> Body {
    Body::from_file(file.path().to_path_buf(), len)
}
