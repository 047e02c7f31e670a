//! How fast the controller's log is read when a certificate does not come: every line of it complains.

use wiab_steps::certs::LogScan;

use crate::report::Report;
use crate::stats;
use crate::watch::Watch;

/// Lines of one log.
const LINES: usize = 50_000;

/// Ends of lines, so that rows of all parts of the tables are reached, the last ones by lines that mean nothing.
const ERRORS: [&str; 6] = [
    "failed to perform self check GET request 'http://N/.well-known/acme-challenge/t': context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
    "wrong status code '503', expected '200'",
    "dial tcp: lookup N on 169.254.25.10:53: server misbehaving",
    "acme: authorization error for N: 403 urn:ietf:params:acme:error:caa: CAA record for N prevents issuance",
    "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: too many certificates (5), retry after 2026-01-08 00:00:00 UTC",
    "something that nobody has ever seen before and that has no phrase of any table in it",
];

pub(crate) fn all(rounds: usize, report: &mut Report) {
    let lines = (0..LINES).map(|at| {
        let name = format!("n{}.example.org", at % 7);
        let error = ERRORS.get(at % ERRORS.len()).copied().unwrap_or_default();
        let error = error.replace('N', &name);
        format!(
            "E0101 00:00:00.{at:06}       1 sync.go:208] \"propagation check failed\" err=\"{error}\" logger=\"cert-manager.controller\" resource_name=\"c-1\" dnsName=\"{name}\" type=\"HTTP-01\"\n"
        )
    });
    let log: String = lines.collect();
    let mut speeds = Vec::new();
    let mut kept = 0;
    for _ in 0..rounds.max(1) {
        let watch = Watch::start();
        let scan = LogScan::of(&log);
        speeds.push(1e6 / watch.us_each(LINES));
        kept = scan.text().len();
    }
    report.at_least(
        "complaints of the controller's log, classified",
        "",
        stats::median(speeds),
        10_000.0,
        "lines/s",
    );
    report.line(
        &format!("… kept of {:.0} MB", stats::real(log.len() as u64) / 1e6),
        format!("{kept} bytes"),
    );
}
