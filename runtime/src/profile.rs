//! Where the time of a run goes: one entry a launch, however often loops repeat it, and their export for trace viewers.

use std::time::Duration;

use serde::Serialize;

use crate::program::Program;

/// Time and work of one launch in one run, all its iterations together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchTime {
    /// What the launch computes: module paths and op names.
    pub label: String,
    /// Symbol of its kernel.
    pub kernel: String,
    /// How often it ran: once outside of loops, not at all in an arm that was not taken.
    pub runs: u64,
    /// Nanoseconds from the start of the run to the first start of the launch.
    pub start_ns: u64,
    /// Nanoseconds the launch took, over all its runs.
    pub ns: u64,
    /// Bytes it reads and writes, from the shapes, over all its runs.
    pub bytes: u64,
    /// Its floating-point operations (an fma counts 2), over all its runs.
    pub flops: u64,
}

/// Collects the times of a run.
#[derive(Clone, Debug)]
pub struct Profile<'p> {
    program: &'p Program,
    times: Vec<LaunchTime>,
}

impl<'p> Profile<'p> {
    /// Nothing run yet.
    pub fn new(program: &'p Program) -> Self {
        let time = |launch: &crate::program::Launch| LaunchTime {
            label: launch.label.clone(),
            kernel: program.kernels[launch.kernel as usize].symbol.clone(),
            runs: 0,
            start_ns: 0,
            ns: 0,
            bytes: 0,
            flops: 0,
        };
        Self { program, times: program.launches.iter().map(time).collect() }
    }

    /// Adds a run of launch number `launch`, by its times since the run of the program began.
    pub fn add(&mut self, launch: usize, start: Duration, end: Duration) {
        let kernel = &self.program.kernels[self.program.launches[launch].kernel as usize];
        let time = &mut self.times[launch];
        if time.runs == 0 {
            time.start_ns = start.as_nanos() as u64;
        }
        time.runs += 1;
        time.ns += end.saturating_sub(start).as_nanos() as u64;
        time.bytes = time.bytes.saturating_add(kernel.bytes);
        time.flops = time.flops.saturating_add(kernel.flops);
    }

    /// One entry a launch, in the program's order.
    pub fn finish(self) -> Vec<LaunchTime> {
        self.times
    }
}

/// The launches of a run in the trace event format that Chrome and Perfetto read: complete events on one track, times in
/// microseconds. Launches of a loop are shown one after the other, each with all its iterations in one event.
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
        Launch { kernel: &'a str, runs: u64, bytes: u64, flops: u64, gb_per_s: f64, gflop_per_s: f64 },
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
    let mut free_ns = 0;
    let launches = launches.iter().filter(|launch| launch.runs > 0).map(|launch| {
        let start_ns = launch.start_ns.max(free_ns);
        free_ns = start_ns + launch.ns;
        // A unit a nanosecond is a giga-unit a second.
        let rate = |units: u64| units as f64 / launch.ns.max(1) as f64;
        Event {
            name: &launch.label,
            ph: "X",
            pid: 1,
            tid: 1,
            ts: Some(start_ns as f64 / 1e3),
            dur: Some(launch.ns as f64 / 1e3),
            args: Args::Launch {
                kernel: &launch.kernel,
                runs: launch.runs,
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
            runs: 1,
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
        let launch =
            LaunchTime { label: String::new(), kernel: String::new(), runs: 1, start_ns: 0, ns: 0, bytes: 1, flops: 1 };
        assert!(!chrome_trace("", &[launch]).contains("null"));
    }

    #[test]
    fn launches_of_a_loop_stand_side_by_side() {
        let launch = |start_ns, ns, runs| LaunchTime {
            label: String::new(),
            kernel: String::new(),
            runs,
            start_ns,
            ns,
            bytes: 0,
            flops: 0,
        };
        let launches = [launch(0, 8000, 4), launch(2000, 4000, 4), launch(13_000, 1000, 1), launch(0, 0, 0)];
        let trace: serde_json::Value = serde_json::from_str(&chrome_trace("", &launches)).expect("valid JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        let starts: Vec<f64> = events[1..].iter().map(|event| event["ts"].as_f64().expect("a number")).collect();
        assert_eq!(starts, [0.0, 8.0, 13.0], "an arm that was not taken is not there");
    }
}
