//! Measuring of speed, for the ignored tests that print it.

/// Processor seconds of this thread: unlike wall time, comparable on a machine with other work.
///
/// Linux only (`/proc/thread-self/schedstat`, first number, nanoseconds).
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Does work that answers how many bytes it handled, and prints its speed.
#[expect(clippy::print_stderr, reason = "the result of a measurement")]
pub(crate) fn timed(what: &str, work: impl FnOnce() -> usize) {
    let start = cpu_seconds();
    let len = work();
    let seconds = cpu_seconds() - start;
    eprintln!(
        "{what}: {seconds:.4} s, {:.0} MB/s",
        len as f64 / 1e6 / seconds
    );
}
