//! Folders, names and errors.

use futures_util::TryStreamExt;
use larder_destination::{Body, ErrorKind};

use super::*;

macro_rules! case {
    ($name:literal, $run:path, $needs:ident) => {
        Case {
            name: $name,
            needs: Needs::$needs,
            run: |bench| Box::pin($run(bench)),
        }
    };
}
pub(super) use case;

pub(super) const CASES: &[Case] = &[
    case!("lists an empty folder as empty", empty_folder, Nothing),
    case!("tests an existing folder", tests_folder, Nothing),
    case!(
        "tells a missing folder from missing files",
        missing_folder,
        MissingFolder
    ),
    case!("creates a folder", creates_folder, MissingFolder),
    case!(
        "creates an existing folder without harm",
        creates_twice,
        Nothing
    ),
    case!("lists names, sizes and times", lists_facts, Nothing),
    case!("keeps unusual names", unusual_names, Nothing),
    case!(
        "refuses names that lead out of the folder",
        refused_names,
        Nothing
    ),
    case!("deletes", deletes, Nothing),
    case!(
        "does not lose other files when deleting what is not there",
        deletes_missing,
        Nothing
    ),
    case!("says not found for a missing file", gets_missing, Nothing),
    case!("renames", renames, Rename),
    case!("tells its space", tells_space, Space),
];

async fn empty_folder(bench: Bench) -> Outcome {
    expect_names(bench.empty().await?.as_ref(), &[]).await
}

async fn tests_folder(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    larder_destination::test(destination.as_ref()).await?;
    expect_names(destination.as_ref(), &[]).await?;
    check!(
        !destination.about().display.is_empty() && !destination.about().scheme.is_empty(),
        "it has no name"
    );
    Ok(())
}

async fn missing_folder(bench: Bench) -> Outcome {
    let missing = &[ErrorKind::FolderMissing];
    let destination = bench.missing().await?;
    expect_error("list", names(destination.as_ref()).await, missing)?;
    expect_error("get", destination.get("a").await, missing)?;
    expect_error("put", put(destination.as_ref(), "a", b"a").await, missing)?;
    expect_error("delete", destination.delete("a").await, missing)?;
    expect_error(
        "test",
        larder_destination::test(destination.as_ref()).await,
        missing,
    )
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
    "\u{dc}bersicht \u{65e5}\u{672c} \u{1f600}",
    "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip.aes",
];

async fn unusual_names(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for name in UNUSUAL {
        put(destination.as_ref(), name, name.as_bytes())
            .await
            .map_err(|error| format!("{name:?}: {error}"))?;
    }
    expect_names(destination.as_ref(), UNUSUAL).await?;
    for name in UNUSUAL {
        expect_content(destination.as_ref(), name, name.as_bytes()).await?;
    }
    for name in UNUSUAL {
        destination.delete(name).await?;
    }
    expect_names(destination.as_ref(), &[]).await
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
        return Err(Failed("it cannot rename".to_owned()));
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
        return Err(Failed("it does not know its space".to_owned()));
    };
    let space = match verb.space().await {
        // Whether a server tells shows only when it is asked.
        Err(error) if *error.kind() == ErrorKind::Unsupported => return Ok(()),
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

/// A body whose file has another length than announced.
pub(super) fn misannounced(file: &tempfile::NamedTempFile, len: u64) -> Body {
    Body::from_file(file.path().to_path_buf(), len)
}
