//! Counts as Prometheus reads them (its text format 0.0.4): counters by a few labels that are fixed beforehand, gauges, and how long
//! things took.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Upper bounds of a [`Histogram`], in microseconds: from a signature to what somebody waits for and gives up.
const BOUNDS: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 20_000_000];

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
}

/// How often what happened. Its keys are a closed set: a peer's words are never one.
#[derive(Debug)]
pub struct Counts<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// Once more.
    pub fn count(&self, key: K) {
        self.add(key, 1);
    }

    /// So many times more.
    pub fn add(&self, key: K, times: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(times);
    }

    /// All that happened.
    pub fn all(&self) -> Vec<(K, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(key, count)| (*key, *count)).collect()
    }
}

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Histogram {
    within: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// It took so long once more.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some((_, within)) = BOUNDS.iter().zip(&self.within).find(|(bound, _)| micros <= **bound) {
            within.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A text in the making.
#[derive(Debug)]
pub struct Exposition {
    prefix: &'static str,
    text: String,
}

impl Exposition {
    /// An empty one, the name of each of whose families begins with `prefix`.
    pub const fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new() }
    }

    /// A family of numbers, each with its labels. Names, labels and `help` are ours: nothing in them has to be escaped.
    #[must_use]
    pub fn family<'a>(
        mut self,
        name: &str,
        kind: Kind,
        help: &str,
        numbers: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, u64)>,
    ) -> Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.head(name, kind, help);
        for (labels, number) in numbers {
            self.line(name, &labels, number);
        }
        self
    }

    /// A family of one number.
    #[must_use]
    pub fn number(self, name: &str, kind: Kind, help: &str, number: u64) -> Self {
        self.family(name, kind, help, [(Vec::new(), number)])
    }

    /// A family of histograms, each with its label, in seconds.
    #[must_use]
    pub fn histograms<'a>(
        mut self,
        name: &str,
        help: &str,
        label: &'static str,
        histograms: impl IntoIterator<Item = (&'a str, &'a Histogram)>,
    ) -> Self {
        self.head(name, "histogram", help);
        for (value, histogram) in histograms {
            let mut sum = 0_u64;
            for (bound, within) in BOUNDS.iter().zip(&histogram.within) {
                sum = sum.saturating_add(within.load(Ordering::Relaxed));
                let bound = seconds(*bound);
                self.line(&format!("{name}_bucket"), &[(label, value), ("le", &bound)], sum);
            }
            // Not less than what is below it, whoever counts meanwhile.
            let count = histogram.count.load(Ordering::Relaxed).max(sum);
            self.line(&format!("{name}_bucket"), &[(label, value), ("le", "+Inf")], count);
            self.line(&format!("{name}_sum"), &[(label, value)], seconds(histogram.micros.load(Ordering::Relaxed)));
            self.line(&format!("{name}_count"), &[(label, value)], count);
        }
        self
    }

    /// The text.
    pub fn text(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let name = format!("{}_{name}", self.prefix);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], number: impl core::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}_{name}{labels} {number}", self.prefix);
    }
}

/// Microseconds as decimal seconds.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let counts = Counts::default();
        ["ok", "busy", "ok"].into_iter().for_each(|code| counts.count(code));
        let all = counts.all();
        let numbers = all.iter().map(|(code, count)| (vec![("route", "attest"), ("code", *code)], *count));
        let text = Exposition::new("x").family("requests_total", Kind::Counter, "Requests.", numbers);
        let text = text.number("keys", Kind::Gauge, "Keys.", 7).text();
        assert_eq!(
            text,
            "# HELP x_requests_total Requests.\n# TYPE x_requests_total counter\n\
             x_requests_total{route=\"attest\",code=\"busy\"} 1\nx_requests_total{route=\"attest\",code=\"ok\"} 2\n\
             # HELP x_keys Keys.\n# TYPE x_keys gauge\nx_keys 7\n"
        );
    }

    #[test]
    fn each_bucket_counts_what_took_no_longer() {
        let histogram = Histogram::default();
        for micros in [500, 501, 2_500_000, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let text = Exposition::new("x").histograms("s", "Seconds.", "route", [("a", &histogram)]).text();
        for line in [
            "# TYPE x_s histogram",
            "x_s_bucket{route=\"a\",le=\"0.0005\"} 1",
            "x_s_bucket{route=\"a\",le=\"0.001\"} 2",
            "x_s_bucket{route=\"a\",le=\"1\"} 2",
            "x_s_bucket{route=\"a\",le=\"5\"} 3",
            "x_s_bucket{route=\"a\",le=\"20\"} 3",
            "x_s_bucket{route=\"a\",le=\"+Inf\"} 4",
            "x_s_sum{route=\"a\"} 62.501001",
            "x_s_count{route=\"a\"} 4",
        ] {
            assert!(text.lines().any(|had| had == line), "{line}\n{text}");
        }
    }
}
