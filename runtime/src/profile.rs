//! Where the time of a run goes: one entry a launch, and their export for trace viewers.

use serde::Serialize;

use crate::program::{Launch, Program};

/// Time and work of one launch in one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchTime {
    /// What the launch computes: module paths and op names.
    pub label: String,
    /// Symbol of its kernel.
    pub kernel: String,
    /// Nanoseconds from the start of the run to the start of the launch.
    pub start_ns: u64,
    /// Nanoseconds the launch took.
    pub ns: u64,
    /// Bytes it reads and writes, from the shapes.
    pub bytes: u64,
    /// Its floating-point operations (an fma counts 2).
    pub flops: u64,
}

impl LaunchTime {
    pub(crate) fn of(program: &Program, launch: &Launch, start_ns: u64, ns: u64) -> LaunchTime {
        let kernel = &program.kernels[launch.kernel as usize];
        LaunchTime {
            label: launch.label.clone(),
            kernel: kernel.symbol.clone(),
            start_ns,
            ns,
            bytes: kernel.bytes,
            flops: kernel.flops,
        }
    }
}

/// The launches of a run in the trace event format that Chrome and Perfetto read: complete events on one track, times in
/// microseconds.
pub fn chrome_trace(process: &str, launches: &[LaunchTime]) -> String {
    #[derive(Serialize)]
    struct Trace<'a> {
        #[serde(rename = "displayTimeUnit")]
        unit: &'static str,
        #[serde(rename = "traceEvents")]
        events: Vec<Event<'a>>,
    }

    #[derive(Serialize)]
    struct Event<'a> {
        name: &'a str,
        ph: &'static str,
        pid: u32,
        tid: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        ts: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dur: Option<f64>,
        args: Args<'a>,
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Args<'a> {
        Name { name: &'a str },
        Launch { kernel: &'a str, bytes: u64, flops: u64, gb_per_s: f64, gflop_per_s: f64 },
    }

    let name = Event {
        name: "process_name",
        ph: "M",
        pid: 1,
        tid: 1,
        ts: None,
        dur: None,
        args: Args::Name { name: process },
    };
    let launches = launches.iter().map(|launch| {
        // A unit a nanosecond is a giga-unit a second.
        let rate = |units: u64| units as f64 / launch.ns.max(1) as f64;
        Event {
            name: &launch.label,
            ph: "X",
            pid: 1,
            tid: 1,
            ts: Some(launch.start_ns as f64 / 1e3),
            dur: Some(launch.ns as f64 / 1e3),
            args: Args::Launch {
                kernel: &launch.kernel,
                bytes: launch.bytes,
                flops: launch.flops,
                gb_per_s: rate(launch.bytes),
                gflop_per_s: rate(launch.flops),
            },
        }
    });
    let trace = Trace { unit: "ns", events: std::iter::once(name).chain(launches).collect() };
    serde_json::to_string(&trace).expect("strings and numbers always serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_hold_one_event_a_launch() {
        let launch = LaunchTime {
            label: "a \"quoted\" label".to_owned(),
            kernel: "k0".to_owned(),
            start_ns: 1500,
            ns: 500,
            bytes: 1000,
            flops: 2000,
        };
        let trace: serde_json::Value = serde_json::from_str(&chrome_trace("step", &[launch])).expect("valid JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["args"]["name"], "step");
        assert_eq!(events[1]["name"], "a \"quoted\" label");
        assert_eq!((&events[1]["ts"], &events[1]["dur"]), (&1.5.into(), &0.5.into()));
        assert_eq!((&events[1]["args"]["gb_per_s"], &events[1]["args"]["gflop_per_s"]), (&2.0.into(), &4.0.into()));
    }

    #[test]
    fn launches_without_time_divide_by_nothing() {
        let launch = LaunchTime { label: String::new(), kernel: String::new(), start_ns: 0, ns: 0, bytes: 1, flops: 1 };
        assert!(!chrome_trace("", &[launch]).contains("null"));
    }
}
