//! `sign-in`: a browser that comes back, a code for another device, and what happens when nobody agrees.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_testkit::simulators::google_drive::{GoogleDrive, Settings};
use larder_testkit::simulators::{Fault, Server, Trouble, known};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use crate::support::{Place, Ran};

/// The service, and a place to run the program in.
struct Service {
    place: Place,
    drive: Arc<GoogleDrive>,
    server: Server,
    _runtime: Runtime,
}

impl Service {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let drive = GoogleDrive::new(Settings::default());
        let server = Server::start(Arc::clone(&drive) as _, "127.0.0.1:0", None);
        Self {
            place: Place::new(),
            drive,
            server: runtime.block_on(server).expect("a server"),
            _runtime: runtime,
        }
    }

    /// The arguments of a command on a folder of the service.
    fn args(&self, words: &[&str]) -> Vec<String> {
        let base = format!("http://{}", self.server.address());
        let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        args.extend([
            format!("--oauth-client-id={}", known::CLIENT_ID),
            format!("--oauth-client-secret={}", known::CLIENT_SECRET),
            format!("--oauth-authorization-url={base}/o/oauth2/v2/auth"),
            format!("--oauth-device-url={base}/device/code"),
            format!("--oauth-token-url={base}/token"),
            format!("--googledrive-api-url={base}"),
            "--log-file=log".to_owned(),
            "--log-file-log-level=profiling".to_owned(),
        ]);
        args
    }

    /// Begins a sign-in in a browser; gives the address to open.
    fn begin(&self) -> (Child, BufReader<ChildStderr>, String) {
        let args = self.args(&["sign-in", "googledrive://Backups"]);
        let mut child = self.place.command(args).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error"));
        let mut line = String::new();
        while !line.starts_with("http://") {
            line.clear();
            assert!(
                lines.read_line(&mut line).expect("a line") > 0,
                "no address"
            );
        }
        (child, lines, line.trim().to_owned())
    }

    /// The token in the output, which nothing else may hold.
    fn token(&self, ran: &Ran) -> String {
        let token = ran.out.strip_prefix("--oauth-refresh-token=1//");
        let token = token
            .unwrap_or_else(|| panic!("{}\n{}", ran.out, ran.err))
            .trim();
        let log = std::fs::read_to_string(self.place.path("log")).expect("a log");
        assert!(log.contains("has ended with exit code 0"), "{log}");
        for secret in [token, known::CLIENT_SECRET] {
            assert!(!log.contains(secret), "a secret is in the log");
            assert!(!ran.err.contains(secret), "a secret is among the messages");
        }
        format!("1//{token}")
    }

    /// Lists a folder with a refresh token that was got before.
    fn works(&self, token: &str) {
        let token = format!("--oauth-refresh-token={token}");
        let make = self.args(&[
            "destination",
            "create-folder",
            "googledrive://Backups",
            &token,
        ]);
        self.place.run(make).code(0);
        let list = self.args(&["destination", "list", "googledrive://Backups", &token]);
        self.place.run(list).code(0);
    }
}

/// Waits for the end of the program.
fn ended(child: Child, mut errors: BufReader<ChildStderr>) -> Ran {
    let mut err = String::new();
    errors.read_to_string(&mut err).expect("standard error");
    let mut ran = Ran::of(child.wait_with_output().expect("it ends"));
    ran.err = err;
    ran
}

/// What a browser does with an address: the status, and where it is sent on to.
fn browse(address: &str) -> (u16, Option<String>) {
    let rest = address.strip_prefix("http://").expect("an address");
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = target.strip_prefix('/').unwrap_or(target);
    let mut stream = TcpStream::connect(host).expect("a connection");
    let request = format!("GET /{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    let status = reply.get(9..12).and_then(|status| status.parse().ok());
    let mut lines = reply.lines().filter_map(|line| line.split_once(": "));
    let to = lines.find(|(name, _)| name.eq_ignore_ascii_case("location"));
    (status.unwrap_or(0), to.map(|(_, to)| to.to_owned()))
}

#[test]
fn a_browser_that_comes_back_signs_in() {
    let service = Service::start();
    let (child, errors, address) = service.begin();
    for part in [
        "code_challenge_method=S256",
        "access_type=offline",
        "state=",
    ] {
        assert!(address.contains(part), "{address}");
    }
    assert!(!address.contains(known::CLIENT_SECRET), "{address}");
    let full = "scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fdrive&";
    assert!(address.contains(full), "{address}");
    let (status, back) = browse(&address);
    let back = back.expect("an address to come back to");
    assert_eq!(status, 302);
    // Another page of this machine, and one that was not sent here, change nothing.
    let (own, _) = back.split_once('?').expect("a query");
    assert_eq!(browse(&format!("{own}/favicon.ico")).0, 404);
    assert_eq!(browse(&format!("{own}/?state=guessed&code=foreign")).0, 404);
    assert_eq!(browse(&back).0, 200);
    let ran = ended(child, errors).code(0);
    assert!(!ran.err.contains("only files"), "{}", ran.err);
    let token = service.token(&ran);
    service.works(&token);
    assert!(
        TcpStream::connect(own.trim_start_matches("http://")).is_err(),
        "the port is open"
    );
}

#[test]
fn a_code_signs_in_from_another_device() {
    let service = Service::start();
    let mut args = service.args(&["sign-in", "googledrive://Backups", "--device"]);
    let ran = service.place.run(&args).code(0);
    assert!(
        ran.err.contains("https://www.google.com/device"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("GQVQ-JKEC"), "{}", ran.err);
    // What such a sign-in does not see is said before the user agrees.
    let said = ran
        .err
        .find("only files that it made with this --oauth-client-id");
    assert!(
        said.is_some_and(|said| Some(said) < ran.err.find("GQVQ-JKEC")),
        "{}",
        ran.err
    );
    let token = service.token(&ran);
    service.works(&token);
    args.push("--json".to_owned());
    let told = service.place.run(&args).code(0).json();
    assert_eq!(told["Option"], "oauth-refresh-token");
    assert!(
        told["Value"]
            .as_str()
            .is_some_and(|value| value.starts_with("1//"))
    );
}

/// The service gives a new refresh token with each renewal, and ends the sign-in when an old one comes again.
#[test]
fn two_runs_at_once_keep_the_sign_in() {
    let service = Service::start();
    service.drive.change(|settings| {
        settings.accounts.rotates = true;
        settings.accounts.ends_reused = true;
    });
    service.works(known::REFRESH_TOKEN);
    let token = format!("--oauth-refresh-token={}", known::REFRESH_TOKEN);
    let list = service.args(&["destination", "list", "googledrive://Backups", &token]);
    for round in 0..3 {
        service.drive.expire_tokens();
        drop(service.server.take_journal());
        // Long enough for the other run to come while the answer is on its way.
        let slow = Trouble::Slow { milliseconds: 200 };
        service.server.fault(Fault::next("POST", "/token", slow));
        let runs = [(); 2].map(|()| service.place.command(&list).spawn().expect("it starts"));
        for run in runs {
            let ran = Ran::of(run.wait_with_output().expect("it ends"));
            ran.code(0);
        }
        let journal = service.server.take_journal();
        let renewals = journal.iter().filter(|line| line.path == "/token").count();
        assert_eq!(renewals, 1, "round {round}");
    }
}

#[test]
fn a_user_who_refuses_is_told_so() {
    let service = Service::start();
    let (child, errors, address) = service.begin();
    let (_, back) = browse(&address);
    let back = back.expect("an address to come back to");
    let denied =
        back.split("&code=").next().expect("a beginning").to_owned() + "&error=access_denied";
    browse(&denied);
    ended(child, errors)
        .code(100)
        .fails_with("SignInNeeded")
        .complains("the sign-in was refused: access_denied");
}

#[test]
fn a_signal_ends_the_wait() {
    let service = Service::start();
    let (child, errors, _) = service.begin();
    let begin = Instant::now();
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::TERM).expect("a signal");
    let ran = ended(child, errors).code(100);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(ran.out, "");
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new();
    place
        .run(["sign-in", "googledrive://Backups"])
        .code(100)
        .complains("option --oauth-client-id is missing");
    place
        .run(["sign-in", "file:///tmp/x"])
        .code(100)
        .fails_with("NoSignIn")
        .complains("see `larder help file`");
    let long = [
        "sign-in",
        "googledrive://Backups",
        "--oauth-client-id=x",
        "--oauth-token-url=http://far.example/token",
    ];
    place
        .run(long)
        .code(100)
        .complains("must begin with https://");
}
