use larder_engine::{Finding, GuardReason, GuardedSource, Verification};

use super::*;

fn words(lines: &[Line]) -> Vec<&str> {
    let text = |line| match line {
        &Line::Words(ref text) | &Line::Path(ref text) => text.as_str(),
    };
    lines.iter().map(text).collect()
}

#[test]
fn a_backup_ends_with_the_code_of_its_outcome() {
    let code = |change: fn(&mut BackupReport)| {
        let mut report = BackupReport::default();
        change(&mut report);
        backup(&report).code
    };
    assert_eq!(code(|_| {}), 1, "nothing was sent");
    assert_eq!(code(|r| r.common.backend_statistics.bytes_uploaded = 1), 0);
    assert_eq!(code(|r| r.common.parsed_result = Outcome::Warning), 2);
    assert_eq!(code(|r| r.common.parsed_result = Outcome::Error), 3);
    assert_eq!(code(|r| r.common.interrupted = true), 100);
    assert_eq!(
        code(|r| {
            r.common.interrupted = true;
            r.partial_backup = true;
        }),
        50
    );
    let guarded = |r: &mut BackupReport| {
        r.guarded_sources.push(GuardedSource {
            path: "/disk".into(),
            reason: GuardReason::Missing,
            files_before: 3,
            files_lost: 3,
            files_changed: 0,
            files_new: 0,
        });
        r.common.parsed_result = Outcome::Warning;
    };
    assert_eq!(code(guarded), 51);
    // As a damaged volume that the check after the backup found.
    let mut report = BackupReport::default();
    guarded(&mut report);
    report.common.parsed_result = Outcome::Error;
    let told = backup(&report);
    assert_eq!(told.code, 3);
    let last = words(&told.lines).last().copied().unwrap_or_default();
    assert!(
        last.contains("errors") && last.contains("looks lost"),
        "{last}"
    );
}

#[test]
fn long_lists_are_cut_unless_all_is_wanted() {
    let report = RestoreReport {
        broken_remote_files: (0..20).map(|n| format!("/file {n}")).collect(),
        broken_remote_files_actual_length: 20,
        ..RestoreReport::default()
    };
    let told = restore(&report, Detail::Short);
    assert_eq!(told.code, 2);
    assert_eq!(told.complaints.len(), 14);
    let [.., more, help] = words(&told.complaints)[..] else {
        panic!("{:?}", told.complaints);
    };
    assert_eq!(more, "  ... and 9 more (use --full-result to see all)");
    assert!(help.contains("larder recovery download"), "{help}");
    assert_eq!(restore(&report, Detail::Full).complaints.len(), 22);
    // A list that was cut already.
    let report = RestoreReport {
        broken_local_files: vec!["/first".into()],
        broken_local_files_actual_length: 70_000,
        ..report
    };
    let told = restore(&report, Detail::Full);
    let lines = words(&told.complaints);
    assert_eq!(lines.first(), Some(&"70020 files could not be restored:"));
    let last = "  ... and 69999 more (each was told when it was met)";
    assert_eq!((lines.len(), lines.get(22)), (24, Some(&last)));
}

#[test]
fn lost_metadata_is_told_apart() {
    let harm = |metadata: &[&str]| Harm {
        file: "data".into(),
        versions: vec![0],
        paths: vec!["/a".into(), "/b".into()],
        more_paths: false,
        path_count: 2,
        metadata_paths: metadata.iter().map(|path| (*path).to_owned()).collect(),
        metadata_count: metadata.len() as u64,
    };
    for (metadata, head, lines) in [
        (&[][..], "2 entries", ["/a", "/b"]),
        (
            &["/b"],
            "2 entries (1 of them only in times and permissions)",
            ["/a", "/b (only times and permissions are lost)"],
        ),
        (
            &["/a", "/b"],
            "2 entries (only times and permissions)",
            [
                "/a (only times and permissions are lost)",
                "/b (only times and permissions are lost)",
            ],
        ),
    ] {
        let report = TestReport {
            harm: vec![harm(metadata)],
            ..TestReport::default()
        };
        let told = test(&report, Detail::Short);
        let found = words(&told.lines);
        let head = format!("data hurts {head} in the version 0:");
        assert_eq!(found.first(), Some(&head.as_str()));
        for (line, path) in found.iter().skip(1).zip(lines) {
            assert_eq!(*line, format!("\t{path}"));
        }
    }
}

#[test]
fn a_damaged_list_costs_its_version() {
    let report = TestReport {
        verifications: vec![Verification {
            file: "list".into(),
            findings: vec![Finding {
                kind: "Error",
                detail: "torn".into(),
            }],
        }],
        harm: vec![Harm {
            file: "list".into(),
            versions: vec![3],
            paths: Vec::new(),
            more_paths: false,
            path_count: 0,
            metadata_paths: Vec::new(),
            metadata_count: 0,
        }],
        ..TestReport::default()
    };
    let told = test(&report, Detail::Short);
    assert_eq!(told.code, 3);
    assert_eq!(
        words(&told.lines),
        [
            "list: 1 error",
            "\tError: torn",
            "list is the list of version 3: nothing of this version can be restored",
            "Examined 1 file, 1 of them is damaged",
        ]
    );
}
